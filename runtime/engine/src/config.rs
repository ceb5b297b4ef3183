//! The engine's configuration: which WebAssembly is accepted, how code is compiled, where instances live.
//!
//! Settings that shape compiled code are the same in every process of a pool, since an engine only accepts artifacts of an
//! engine with equal settings. Only the allocator differs between processes. The numbers were measured.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails, WasmFeatures,
};

use crate::error::LoadError;
use mpwasm_system::limit_names::limit_behind;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::MAX_TABLES;
use mpwasm_types::outcome::MAX_BACKTRACE;
use mpwasm_types::settings::Interrupt;

/// Number of memory slots of a worker: 4. A worker runs one instance at a time. The other slots keep the images of further
/// guests mapped, so that several guests in rotation stay fast.
const SLOTS: u32 = 4;
/// Number of core instances of a worker, more than the slots of [`SLOTS`] can need.
const INSTANCES: u32 = 32;
/// Largest size of the engine's own bookkeeping for one instance: 128 MiB. The engine's limits for modules keep every guest
/// below it, so that a worker can instantiate every guest that the compiler process accepts.
const INSTANCE_SIZE: usize = 128 << 20;

/// How a process uses its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineRole {
    /// Runs a fresh instance for each task, one at a time, as fast as possible. Reserves 17 GiB of address
    /// space.
    Worker,
    /// Keeps one instance per model.
    Callbacks,
    /// Runs one instance of a guest's `tasks`.
    Tasks,
}

/// Returns the engine of the compiler process. With `parallel` it compiles functions on the threads of the current rayon pool.
/// The code is the same.
pub(crate) fn compiler(settings: &EngineSettings, parallel: bool) -> Result<Engine, LoadError> {
    new(config(settings).parallel_compilation(parallel))
}

/// Returns the engine for `role`.
pub(crate) fn engine(role: EngineRole, settings: &EngineSettings) -> Result<Engine, LoadError> {
    let mut config = config(settings);
    config.allocation_strategy(match role {
        EngineRole::Worker => InstanceAllocationStrategy::Pooling(pool(settings)),
        EngineRole::Callbacks | EngineRole::Tasks => InstanceAllocationStrategy::OnDemand,
    });
    new(&config)
}

/// Hashes what an engine checks before it loads an artifact: its version, the target, the features of this processor, and how
/// code is compiled. Engines with equal hashes load each other's artifacts, within one build of mpwasm.
///
/// Makes an engine, which takes about 0.1 ms. It compiles nothing and reads nothing of a guest.
///
/// # Errors
/// Returns an error if the engine refuses its settings.
pub fn hash_compatibility(settings: &EngineSettings, hasher: &mut impl Hasher) -> Result<(), LoadError> {
    let mut config = config(settings);
    // This may run in a program that embeds the pool, whose signal handlers must not be replaced. The setting that this
    // takes out of the hash is the same wherever this build compiles or loads anything.
    config.signals_based_traps(false);
    new(&config)?.precompile_compatibility_hash().hash(hasher);
    Ok(())
}

fn new(config: &Config) -> Result<Engine, LoadError> {
    Engine::new(config).map_err(|error| {
        // Mostly the address space is limited: each worker reserves that of its tasks' memories once.
        let limit = limit_behind(libc::ENOMEM).map_or_else(String::new, |limit| format!("; {limit}"));
        LoadError::Engine(format!("{error:#}{limit}"))
    })
}

/// Returns the settings that are the same in every process.
fn config(settings: &EngineSettings) -> Config {
    let mut config = Config::new();
    features(&mut config);
    let stack = usize::try_from(settings.stack).unwrap_or(usize::MAX);
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(settings.interrupt == Interrupt::Epoch)
        .consume_fuel(settings.fuel.is_some())
        .concurrency_support(false)
        .memory_init_cow(true)
        .signals_based_traps(true)
        .max_wasm_stack(stack)
        // Not used, but it must not be smaller.
        .async_stack_size(stack)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_BACKTRACE))
        // The guest's debug information is never read: parsing it would add attack surface.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .debug_info(false)
        // Only the compiler process starts threads for its engine.
        .parallel_compilation(false);
    config
}

/// Sets the features of WebAssembly that the guest ABI lists. The engine starts with all features that it has, so every other
/// one is switched off here by name.
fn features(config: &mut Config) {
    let off = WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::GC
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::STACK_SWITCHING
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::COMPONENT_MODEL;
    let on = WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL;
    config.wasm_features(off, false);
    config.wasm_features(on, true);
}

/// Returns the configuration of a worker's pooling allocator, whose slots are reset instead of unmapped.
///
/// Room for tables costs address space only: an instance pays for the elements that its tables have.
fn pool(settings: &EngineSettings) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(SLOTS)
        .total_tables(SLOTS * MAX_TABLES)
        .total_core_instances(INSTANCES)
        .total_component_instances(0)
        .total_stacks(0)
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(settings.max_table as usize)
        .max_core_instance_size(INSTANCE_SIZE)
        .max_unused_warm_slots(SLOTS)
        .decommit_batch_size(1)
        .table_keep_resident(64 << 10);
    // The scan finds the pages that an instance has written, but only among those that are present. A dirty page that was
    // swapped out would survive into the next instance. Without the scan, all that is kept resident is rewritten, so keep
    // little.
    if !swaps() && PoolingAllocationConfig::is_pagemap_scan_available() {
        // The bound of one slot. `ResidentMemory` has the same bound for all slots together.
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(usize::try_from(settings.keep_resident).unwrap_or(usize::MAX));
    } else {
        pool.pagemap_scan(Enabled::No)
            .linear_memory_keep_resident(128 << 10);
    }
    pool
}

/// Returns whether this machine may swap, and `true` if that is not known.
fn swaps() -> bool {
    // A line of headings, then a line per device.
    std::fs::read_to_string("/proc/swaps").map_or(true, |table| table.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use mpwasm_types::settings::Settings;
    use wasmtime::Module;

    use super::*;

    fn settings() -> EngineSettings {
        EngineSettings::from(&Settings::default())
    }

    fn accepts(wat: &str) -> Result<(), String> {
        let engine = compiler(&settings(), false).expect("the engine's settings are valid");
        Module::new(&engine, wat)
            .map(drop)
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_role_has_an_engine() {
        for role in [EngineRole::Worker, EngineRole::Callbacks, EngineRole::Tasks] {
            for fuel in [None, Some(1000)] {
                engine(role, &EngineSettings { fuel, ..settings() })
                    .unwrap_or_else(|e| panic!("{role:?}: {e}"));
            }
        }
    }

    #[test]
    fn what_the_guest_abi_lists_is_accepted() {
        for wat in [
            "(module (global (mut i32) (i32.const 0)) (export \"g\" (global 0)))",
            "(module (func (param i32) (result i64) (i64.extend8_s (i64.extend_i32_u (local.get 0)))))",
            "(module (func (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0))))",
            "(module (func (result i32 i64) (i32.const 1) (i64.const 2)))",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))",
            "(module (table 1 funcref) (table 1 funcref) (func (drop (table.get 1 (i32.const 0)))))",
            "(module (func (result funcref) (ref.null func)))",
            "(module (func (result v128) (i32x4.splat (i32.const 1))))",
            "(module (func $f (return_call $f)))",
        ] {
            assert_eq!(accepts(wat), Ok(()), "{wat}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        for (wat, name) in [
            ("(module (memory 1 1 shared))", "threads"),
            (
                "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
                "threads",
            ),
            ("(module (memory i64 1))", "memory64"),
            ("(module (memory 1) (memory 1))", "multiple memories"),
            ("(module (type (struct)))", "gc"),
            ("(module (func (param (ref func))))", "function references"),
            ("(module (tag))", "exceptions"),
            (
                "(module (func (param v128) (result v128)
                   (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))",
                "relaxed SIMD",
            ),
            (
                "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
                "constant expression required",
            ),
            ("(module (memory 1 (pagesize 1)))", "custom page sizes"),
            (
                "(module (func (param i64 i64 i64 i64) (result i64 i64)
                   (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
                "wide arithmetic",
            ),
            ("(component)", "component"),
            ("(module (func (param externref)))", "gc"),
        ] {
            let message = accepts(wat).expect_err(wat);
            assert!(message.contains(name), "{wat}: {message}");
        }
    }
}
