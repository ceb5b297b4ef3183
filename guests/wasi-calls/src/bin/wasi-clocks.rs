//! Calls for clocks, random numbers, sleeping and yielding.

use wasi::{
    CLOCKID_MONOTONIC, CLOCKID_REALTIME, Event, EventFdReadwrite, Subscription, SubscriptionClock,
    SubscriptionU, SubscriptionUU,
};

fn now() -> u64 {
    // SAFETY: no memory is given.
    unsafe { wasi::clock_time_get(CLOCKID_MONOTONIC, 0) }.expect("there is a clock")
}

fn main() {
    // SAFETY: the buffers are valid, and have the given lengths.
    unsafe {
        for clock in [CLOCKID_MONOTONIC, CLOCKID_REALTIME] {
            assert!(wasi::clock_res_get(clock).expect("there is a clock") > 0);
        }
        let realtime = wasi::clock_time_get(CLOCKID_REALTIME, 0).expect("there is a clock");
        assert!(realtime > 1_600_000_000_000_000_000, "it is later than 2020");

        let mut random = [[0_u8; 32]; 2];
        for numbers in &mut random {
            wasi::random_get(numbers.as_mut_ptr(), numbers.len()).expect("there are random numbers");
        }
        assert_ne!(random[0], random[1]);
        wasi::sched_yield().expect("it can yield");

        let begun = now();
        let sleep = Subscription {
            userdata: 7,
            u: SubscriptionU {
                tag: wasi::EVENTTYPE_CLOCK.raw(),
                u: SubscriptionUU {
                    clock: SubscriptionClock {
                        id: CLOCKID_MONOTONIC,
                        timeout: 20_000_000,
                        precision: 0,
                        flags: 0,
                    },
                },
            },
        };
        let mut event = Event {
            userdata: 0,
            error: wasi::ERRNO_SUCCESS,
            type_: wasi::EVENTTYPE_FD_READ,
            fd_readwrite: EventFdReadwrite { nbytes: 0, flags: 0 },
        };
        assert_eq!(wasi::poll_oneoff(&sleep, &mut event, 1), Ok(1));
        assert_eq!((event.userdata, event.type_), (7, wasi::EVENTTYPE_CLOCK));
        assert!(now() - begun >= 20_000_000);
        assert_eq!(
            wasi::poll_oneoff(&sleep, &mut event, 0),
            Err(wasi::ERRNO_INVAL),
            "nothing to wait for"
        );
    }
}
