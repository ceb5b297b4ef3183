"""Measures pools of Python with the tasks of `benches/pool`. Prints one number per run.

usage: peer.py SUBJECT NUMBER
"""

import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from multiprocessing import Barrier, Manager, Pool, Process, Queue, Value

WORKERS = 2


def noop():
    return None


def noop_of(_):
    return None


def echo(payload):
    return payload


def spin():
    while True:
        pass


def per_second(count, run):
    run(count // 10)  # starts and warms up the processes
    started = time.perf_counter()
    run(count)
    return count / (time.perf_counter() - started)


def apply_async(count):
    with Pool(WORKERS) as pool:

        def run(count):
            done = threading.Event()
            left = count

            def callback(_):
                nonlocal left
                left -= 1
                if left == 0:
                    done.set()

            for _ in range(count):
                pool.apply_async(noop, callback=callback)
            done.wait()

        return per_second(count, run)


def imap_unordered(count):
    with Pool(WORKERS) as pool:
        return per_second(count, lambda n: sum(1 for _ in pool.imap_unordered(noop_of, range(n))))


def futures(count):
    with ProcessPoolExecutor(WORKERS) as pool:

        def run(count):
            for future in [pool.submit(noop) for _ in range(count)]:
                future.result()

        return per_second(count, run)


def futures_map(count):
    with ProcessPoolExecutor(WORKERS) as pool:
        return per_second(count, lambda n: sum(1 for _ in pool.map(noop_of, range(n), chunksize=100)))


def pebble(count):
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as pool:

        def run(count):
            for future in [pool.schedule(noop, timeout=10) for _ in range(count)]:
                future.result()

        return per_second(count, run)


def latency(count):
    with Pool(WORKERS) as pool:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            pool.apply(noop)
            times.append(time.perf_counter() - started)
        return sorted(times[count // 10 :])[count * 9 // 20] * 1e6


def payload(count):
    data = "x" * (1 << 20)
    with ProcessPoolExecutor(WORKERS) as pool:

        def run(count):
            for future in [pool.submit(echo, data) for _ in range(count)]:
                assert len(future.result()) == 1 << 20

        return per_second(count, run) * (1 << 20) / 1e6


def overshoot(count):
    from pebble import ProcessPool

    late = []
    with ProcessPool(max_workers=1) as pool:
        pool.schedule(noop).result()
        for _ in range(count):
            started = time.perf_counter()
            try:
                pool.schedule(spin, timeout=0.1).result()
            except TimeoutError:
                late.append((time.perf_counter() - started - 0.1) * 1e3)
    return sorted(late)[len(late) // 2]


def two_processes(bodies, *args):
    """Seconds that two processes take for their bodies, which begin together."""
    barrier = Barrier(3)
    processes = [Process(target=begin, args=(barrier, body, args)) for body in bodies]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    return time.perf_counter() - started


def begin(barrier, body, args):
    barrier.wait()
    body(*args)


def add(value, count):
    for _ in range(count):
        with value.get_lock():
            value.value += 1


def set_and_get(shared, count):
    for _ in range(count):
        shared["k"] = 1
        shared["k"]


def produce(queue, count):
    for _ in range(count):
        queue.put(1)


def consume(queue, count):
    for _ in range(count):
        queue.get()


def acquire_and_release(lock, count):
    for _ in range(count):
        with lock:
            pass


def shared_value(count):
    return 2 * count / two_processes([add, add], Value("q", 0), count)


def shared_dict(count):
    with Manager() as manager:
        return 2 * count / two_processes([set_and_get] * 2, manager.dict(), count)


def shared_queue(count):
    return count / two_processes([produce, consume], Queue(1000), count)


def managed_queue(count):
    with Manager() as manager:
        return count / two_processes([produce, consume], manager.Queue(1000), count)


def managed_lock(count):
    with Manager() as manager:
        return two_processes([acquire_and_release] * 2, manager.Lock(), count) * 1e6 / (2 * count)


def first(workers):
    with Pool(workers) as pool:
        return pool.apply(noop)


def idle(workers):
    with Pool(workers) as pool:
        pool.map(time.sleep, [0.2] * workers, chunksize=1)
        print("idle", flush=True)
        sys.stdin.read()
    return ""


if __name__ == "__main__":
    print(globals()[sys.argv[1]](int(sys.argv[2])))
