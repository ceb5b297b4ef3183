use super::*;
use crate::periods::periods;

fn task(worker: u32, start_us: u64, run_us: u64) -> TimelineTask {
    TimelineTask {
        worker: LogWorker {
            log: 0,
            worker: WorkerNumber(worker),
        },
        start_us,
        run_us,
        has_failed: run_us.is_multiple_of(2),
    }
}

fn timeline(tasks: &[TimelineTask]) -> Timeline {
    let times = tasks.iter().map(|task| Period {
        start: task.start_us,
        end: task.start_us.saturating_add(task.run_us),
    });
    Timeline::new(periods(times.collect()), || tasks.iter().copied()).unwrap()
}

/// Returns the busy time, and the numbers of tasks that ended and failed, of all bins of a lane.
fn sums(cells: &[Cell]) -> (u64, u64, u64) {
    (
        cells.iter().map(|cell| cell.busy_us).sum(),
        cells.iter().map(|cell| cell.ended).sum(),
        cells.iter().map(|cell| cell.failed).sum(),
    )
}

#[test]
fn the_bins_of_a_worker_add_up_to_what_it_did() {
    let line = timeline(&[task(0, 1000, 3), task(0, 1003, 100_000), task(1, 200_000, 7)]);
    assert_eq!(sums(&line.lanes[0]), (100_003, 2, 1));
    assert_eq!(sums(&line.lanes[1]), (7, 1, 0));
    assert_eq!((line.length_us, line.position(1003)), (199_007, 3));
    let full = line.lanes[0].iter().filter(|cell| cell.busy_us == line.width_us);
    assert_eq!(full.count() as u64, 100_003 / line.width_us);
    assert!(line.lanes[0].iter().all(|cell| cell.busy_us <= line.width_us));
}

#[test]
fn gaps_between_runs_take_no_room() {
    let later = 1_000_000_000;
    let line = timeline(&[task(0, 0, 10), task(0, later, 10)]);
    assert_eq!(line.length_us, 20);
    assert_eq!(
        [0, 10, 11, later - 1, later, later + 10].map(|time| line.position(time)),
        [0, 10, 10, 10, 10, 20]
    );
}

#[test]
fn many_workers_share_lanes_and_all_have_one() {
    for number in [1, 2, 63, 64, 65, 128, 129, 10_000] {
        let tasks: Vec<_> = (0..number).map(|worker| task(worker, 5, 1)).collect();
        let line = timeline(&tasks);
        assert!(line.lanes.len() <= MAX_LANES, "{}", line.lanes.len());
        for (lane, cells) in line.lanes.iter().enumerate() {
            assert_eq!(sums(cells).1, line.workers(lane).len() as u64);
            for worker in line.workers(lane) {
                assert_eq!(line.lane(*worker), Some(lane));
            }
        }
        assert_eq!(
            (0..line.lanes.len())
                .map(|lane| line.workers(lane).len())
                .sum::<usize>(),
            number as usize
        );
    }
}

#[test]
fn the_number_of_bins_is_bounded_and_absurd_times_do_no_harm() {
    for (workers, length) in [
        (1, 1),
        (1, 1 << 40),
        (64, 1 << 40),
        (1000, u64::MAX),
        (1, u64::MAX),
    ] {
        let tasks: Vec<_> = (0..workers)
            .flat_map(|worker| [task(worker, 0, length), task(worker, length, u64::MAX)])
            .collect();
        let line = timeline(&tasks);
        let cells = line.lanes.len() * line.lanes[0].len();
        assert!(cells as u64 <= MAX_CELLS + MAX_LANES as u64, "{cells}");
        assert_eq!(
            line.lanes.iter().map(|lane| sums_of_ends(lane)).sum::<u64>(),
            2 * u64::from(workers)
        );
    }
}

fn sums_of_ends(cells: &[Cell]) -> u64 {
    cells.iter().map(|cell| cell.ended).sum()
}

#[test]
fn without_tasks_there_is_no_timeline() {
    assert!(Timeline::new(Vec::new(), std::iter::empty).is_none());
}
