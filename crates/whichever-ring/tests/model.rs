//! The ring beside a plain queue, and a link of two threads that wake each other.
#![cfg(not(loom))]
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use whichever_ring::{PushError, Spin, Wait, create_link, open_link};

#[derive(Clone, Debug)]
enum Step {
    /// Push a record made of parts with these lengths.
    Push(Vec<usize>),
    Pop,
}

fn steps() -> impl Strategy<Value = (u32, Vec<Step>)> {
    (6_u32..12).prop_flat_map(|power| {
        // Also a little beyond the longest.
        let len = 0..=(1_usize << power) / 8 + 4;
        let push = prop::collection::vec(len, 0..4).prop_map(Step::Push);
        let step = prop_oneof![3 => push, 2 => Just(Step::Pop)];
        (Just(power), prop::collection::vec(step, 1..400))
    })
}

proptest! {
    #[test]
    fn a_ring_is_a_queue_that_is_full_at_times((power, steps) in steps()) {
        let capacity = 1 << power;
        let (file, mut caller) = create_link(capacity).unwrap();
        let mut worker = open_link(file).unwrap();
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut byte = 0_u8;
        for step in steps {
            match step {
                Step::Push(lens) => {
                    let parts: Vec<Vec<u8>> = lens.iter().map(|len| {
                        byte = byte.wrapping_add(1);
                        vec![byte; *len]
                    }).collect();
                    let record = parts.concat();
                    let free = caller.requests.free_bytes();
                    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    match caller.requests.try_push(&slices) {
                        Ok(()) => model.push_back(record),
                        Err(PushError::TooLarge) => prop_assert!(record.len() > caller.requests.max_record()),
                        Err(PushError::Full) => {
                            prop_assert!(!model.is_empty(), "an empty ring is full");
                            // At most half of the ring is wasted before its end.
                            prop_assert!(free < 2 * (16 + record.len()), "{free} are free");
                        }
                    }
                }
                Step::Pop => {
                    prop_assert_eq!(worker.requests.pop(<[u8]>::to_vec), model.pop_front());
                }
            }
            prop_assert_eq!(worker.requests.is_empty(), model.is_empty());
            prop_assert_eq!(caller.requests.is_drained(), model.is_empty());
            prop_assert!(caller.requests.free_bytes() <= capacity);
        }
        prop_assert!(!worker.requests.is_corrupt());
    }

    #[test]
    fn any_bytes_in_a_ring_give_records_or_close_it(bytes in prop::collection::vec(any::<u8>(), 64), tail in any::<u64>()) {
        use std::os::fd::AsFd;
        use whichever_sys::SharedFile;

        let (file, mut caller) = create_link(64).unwrap();
        let copy = SharedFile::from_fd(file.as_fd().as_fd().try_clone_to_owned().unwrap());
        let mut worker = open_link(file).unwrap();
        // Write one record, then put any bytes into the requests, and any tail where the tail was.
        caller.requests.try_push(&[&[7; 8]]).unwrap();
        let len = usize::try_from(copy.len().unwrap()).unwrap();
        let mut words = vec![0; len - 128];
        copy.read_at(&mut words, 0).unwrap();
        let at = words.chunks(8).position(|word| word == 16_u64.to_ne_bytes()).unwrap() * 8;
        let tail = if tail % 2 == 0 { tail % 128 } else { tail };
        copy.write_at(&tail.to_ne_bytes(), at as u64).unwrap();
        copy.write_at(&bytes, (len - 128) as u64).unwrap();
        let taken = std::iter::from_fn(|| worker.requests.pop(<[u8]>::len)).count();
        prop_assert!(taken <= 8);
        prop_assert!(worker.requests.is_empty());
    }
}

#[test]
fn a_million_records_pass_between_two_threads_that_sleep_in_turn() {
    const COUNT: u64 = 1_000_000;
    const BOUND: Option<Duration> = Some(Duration::from_secs(20));
    let (file, caller) = create_link(4096).unwrap();
    let worker = open_link(file).unwrap();
    let room_desk = caller.desk.clone();
    let sender = std::thread::spawn(move || {
        let (mut requests, desk) = (caller.requests, caller.desk);
        for number in 0..COUNT {
            let bytes = number.to_ne_bytes();
            while requests.try_push(&[&bytes, &bytes[..usize::try_from(number % 8).unwrap()]]).is_err() {
                std::thread::yield_now();
            }
            desk.bell().ring();
        }
    });
    let mut requests = worker.requests;
    let mut spin = Spin::new();
    for number in 0..COUNT {
        if requests.is_empty() {
            let end = room_desk.bell().wait(|| !requests.is_empty(), BOUND, &mut spin);
            assert_eq!(end, Wait::Ready);
        }
        let seen = requests.pop(|bytes| (u64::from_ne_bytes(bytes[..8].try_into().unwrap()), bytes.len()));
        assert_eq!(seen, Some((number, 8 + usize::try_from(number % 8).unwrap())));
    }
    sender.join().unwrap();
}
