//! The CPUs over which a pool's workers are spread.

use mpwasm_sandbox::cpu_affinity;
use mpwasm_types::settings::Settings;

/// Smallest number of tasks per process for which a CPU of its own pays off.
const MIN_TASKS_FOR_AFFINITY: u32 = 8;

/// Returns the CPUs of the workers, in the order of their numbers: all that this process may use. Returns none when there
/// are fewer workers than CPUs, or when their processes are replaced often. The kernel then finds a free CPU for each,
/// and another pool may be on any of them.
pub(super) fn worker_cpus(settings: &Settings) -> Vec<u32> {
    let all = cpu_affinity::allowed_cpus();
    let stays = settings
        .tasks_per_process()
        .is_none_or(|most| most >= MIN_TASKS_FOR_AFFINITY);
    if stays && settings.size as usize >= all.len() {
        all
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::settings::Isolation;

    #[test]
    fn workers_have_cpus_of_their_own_where_their_processes_stay_and_no_cpu_is_left_over() {
        let processors = cpu_affinity::allowed_cpus();
        let size = u32::try_from(processors.len()).unwrap();
        let enough = Settings {
            size,
            ..Settings::default()
        };
        let for_tasks = |tasks| Settings {
            max_tasks_per_worker: Some(tasks),
            ..enough.clone()
        };
        assert_eq!(worker_cpus(&enough), processors);
        assert_eq!(worker_cpus(&for_tasks(MIN_TASKS_FOR_AFFINITY)), processors);
        for none in [
            for_tasks(MIN_TASKS_FOR_AFFINITY - 1),
            Settings {
                isolation: Isolation::Process,
                ..enough.clone()
            },
            Settings {
                size: size - 1,
                ..enough.clone()
            },
        ] {
            assert!(worker_cpus(&none).is_empty(), "{none:?}");
        }
    }
}
