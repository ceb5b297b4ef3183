//! Measures the throughput limit of one process: the same guest in the same engine, a fresh instance per task, without pool,
//! messages, deadline or checks. It runs in a process of its own, a re-executed copy of this program.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::time::{ClockId, clock_gettime};
use wasmtime::{
    Caller, Config, Enabled, Engine, Extern, InstanceAllocationStrategy, InstancePre, Linker, Memory, Module,
    ModuleExport, PoolingAllocationConfig, Store,
};

use super::measure::{Samples, per_second};
use super::setup::Setup;

/// The first argument of that process.
pub const COMMAND: &str = "in-process";

/// The last argument of a process whose guest has no checks.
const NO_CHECKS: &str = "no-checks";

/// Tasks of one measurement.
const TASKS: u64 = 100_000;

/// Measures the tasks per second of one process, and its CPU time per task.
pub fn throughput(setup: &Setup) -> Result<Samples> {
    let took = run(setup, "noop.runnable", "[]", TASKS, 1)?;
    Ok(vec![
        ("limit", per_second(TASKS, took.seconds)),
        ("CPU time: limit", took.processor_seconds * 1e6 / TASKS as f64),
    ])
}

/// The times of the slowest of several processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Elapsed time.
    pub seconds: f64,
    /// CPU time.
    pub processor_seconds: f64,
}

/// Whether the guest's code checks the deadline, as the pool's code does by default.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    On,
    Off,
}

/// Runs `tasks` tasks of the fixture in each of `processes` concurrent processes. Returns the times of the slowest.
pub fn run(setup: &Setup, export: &str, args: &str, tasks: u64, processes: u32) -> Result<Took> {
    run_guest(&setup.fixture, Checks::On, (export, args), tasks, processes)
}

/// Runs tasks of any guest as [`run`] does.
pub fn run_guest(
    guest: &Path,
    checks: Checks,
    (export, args): (&str, &str),
    tasks: u64,
    processes: u32,
) -> Result<Took> {
    let checks = match checks {
        Checks::On => "checks",
        Checks::Off => NO_CHECKS,
    };
    let start = |_| {
        Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .arg(guest)
            .args([export, args, &tasks.to_string(), checks])
            .stdout(Stdio::piped())
            .spawn()
            .context("the in-process limit can't be started")
    };
    let children = (0..processes).map(start).collect::<Result<Vec<_>>>()?;
    let mut slowest = Took::default();
    for child in children {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the in-process limit failed");
        let text = String::from_utf8(output.stdout)?;
        let (seconds, processor) = text.trim().split_once(' ').context("two numbers")?;
        slowest.seconds = slowest.seconds.max(seconds.parse()?);
        slowest.processor_seconds = slowest.processor_seconds.max(processor.parse()?);
    }
    Ok(slowest)
}

/// Runs the tasks in this process. Prints the elapsed time and the CPU time in seconds.
pub fn main(args: &[String]) -> Result<()> {
    let [guest, export, input, tasks, checks] = args else {
        anyhow::bail!("usage: {COMMAND} GUEST EXPORT ARGS TASKS CHECKS");
    };
    let checks = if checks == NO_CHECKS {
        Checks::Off
    } else {
        Checks::On
    };
    let took = took(guest, export, input, tasks.parse()?, checks).map_err(|error| anyhow!("{error:?}"))?;
    println!("{} {}", took.seconds, took.processor_seconds);
    Ok(())
}

fn took(guest: &str, export: &str, input: &str, tasks: u64, checks: Checks) -> wasmtime::Result<Took> {
    let engine = engine(checks)?;
    let module = Module::from_file(&engine, guest)?;
    let pre = linker(&engine, &module)?.instantiate_pre(&module)?;
    let find = |name: &str| module.get_export_index(name).ok_or_else(|| missing(name));
    let (initialize, export) = (find("_initialize")?, find(export)?);
    let mut state = State {
        input: input.into(),
        ..State::default()
    };
    let mut run = |count| -> wasmtime::Result<Duration> {
        let started = Instant::now();
        for _ in 0..count {
            state = task(&engine, &pre, std::mem::take(&mut state), &initialize, &export)?;
        }
        Ok(started.elapsed())
    };
    run((tasks / 10).min(5_000))?;
    let before = processor_seconds()?;
    let seconds = run(tasks)?.as_secs_f64();
    Ok(Took {
        seconds,
        processor_seconds: processor_seconds()? - before,
    })
}

/// Returns the CPU time that this process has used so far.
fn processor_seconds() -> wasmtime::Result<f64> {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Duration::from(used).as_secs_f64())
}

fn missing(name: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("the guest has no {name}"))
}

#[derive(Default)]
struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    memory: Option<Memory>,
}

fn task(
    engine: &Engine,
    pre: &InstancePre<State>,
    state: State,
    initialize: &ModuleExport,
    export: &ModuleExport,
) -> wasmtime::Result<State> {
    let mut store = Store::new(engine, state);
    store.set_epoch_deadline(1);
    let instance = pre.instantiate(&mut store)?;
    let mut function = |export| {
        let found = instance.get_module_export(&mut store, export);
        found
            .and_then(Extern::into_func)
            .ok_or_else(|| missing("function"))
    };
    let (initialize, runnable) = (function(initialize)?, function(export)?);
    initialize.typed::<(), ()>(&store)?.call(&mut store, ())?;
    let code = runnable.typed::<(), i32>(&store)?.call(&mut store, ())?;
    let mut state = store.into_data();
    if code != 0 || state.output.is_empty() {
        return Err(missing("result"));
    }
    state.output.clear();
    state.memory = None;
    Ok(state)
}

/// Creates an engine with the settings of the pool's workers.
fn engine(checks: Checks) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(4)
        .total_tables(16)
        .total_core_instances(32)
        .table_elements(20_000)
        .max_unused_warm_slots(4)
        .decommit_batch_size(1)
        .table_keep_resident(64 << 10)
        .linear_memory_keep_resident(32 << 20)
        .pagemap_scan(match PoolingAllocationConfig::is_pagemap_scan_available() {
            true => Enabled::Yes,
            false => Enabled::No,
        });
    let mut config = Config::new();
    config
        .epoch_interruption(checks == Checks::On)
        .concurrency_support(false)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Links the three imports that the guest needs. Any other import traps.
fn linker(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let ours = "mpwasm_v1";
    linker.func_wrap(ours, "input_len", |caller: Caller<'_, State>| {
        caller.data().input.len() as i32
    })?;
    linker.func_wrap(
        ours,
        "input_read",
        |mut caller: Caller<'_, State>, ptr: i32, offset: i32, len: i32| {
            let (memory, state) = memory(&mut caller);
            let part = &state.input[offset as usize..];
            let count = part.len().min(len as usize);
            memory[ptr as usize..][..count].copy_from_slice(&part[..count]);
            count as i32
        },
    )?;
    linker.func_wrap(
        ours,
        "output_write",
        |mut caller: Caller<'_, State>, ptr: i32, len: i32| {
            let (memory, state) = memory(&mut caller);
            state
                .output
                .extend_from_slice(&memory[ptr as usize..][..len as usize]);
        },
    )?;
    linker.define_unknown_imports_as_traps(module)?;
    Ok(linker)
}

fn memory<'a>(caller: &'a mut Caller<'_, State>) -> (&'a mut [u8], &'a mut State) {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let found = caller.get_export("memory").and_then(Extern::into_memory);
            *caller
                .data_mut()
                .memory
                .insert(found.expect("the guest exports its memory"))
        }
    };
    memory.data_and_store_mut(caller)
}
