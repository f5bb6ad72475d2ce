//! Whatever is done to a queue, it does what a plain model of it does.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it, as the test does")]

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use proptest::prelude::*;
use whichever_queue::{GetError, Order, Phase, PutError, Queue, Want};

#[derive(Clone, Debug)]
enum Step {
    Put,
    Get,
    Reserve,
    PutReserved,
    GiveBack,
    Unget,
    Finish,
    Close(bool),
    Move,
    Watch(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Put),
        8 => Just(Step::Get),
        2 => Just(Step::Reserve),
        2 => Just(Step::PutReserved),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Unget),
        4 => Just(Step::Finish),
        1 => any::<bool>().prop_map(Step::Close),
        1 => Just(Step::Move),
        3 => (0..3_u8).prop_map(Step::Watch),
    ];
    prop::collection::vec(step, 0..120)
}

/// The same as plain as can be.
struct Model {
    items: VecDeque<u32>,
    limit: usize,
    lifo: bool,
    reserved: usize,
    unfinished: u64,
    closed: bool,
    emptied: bool,
}

impl Model {
    fn has_place(&self) -> bool {
        self.items.len() + self.reserved < self.limit
    }

    fn put(&mut self, item: u32) -> Result<(), PutError<u32>> {
        if self.closed {
            return Err(PutError::Closed(item));
        }
        if !self.has_place() {
            return Err(PutError::Full(item));
        }
        self.push(item);
        Ok(())
    }

    fn push(&mut self, item: u32) {
        self.items.push_back(item);
        self.unfinished += 1;
    }

    fn get(&mut self) -> Result<u32, GetError> {
        let item = if self.lifo { self.items.pop_back() } else { self.items.pop_front() };
        let ended = self.closed && self.reserved == 0;
        item.ok_or(if ended { GetError::Closed } else { GetError::Empty })
    }

    fn unget(&mut self, item: u32) {
        if self.lifo { self.items.push_back(item) } else { self.items.push_front(item) }
    }

    fn close(&mut self, immediate: bool) -> Vec<u32> {
        self.closed = true;
        self.emptied |= immediate;
        if !immediate {
            return Vec::new();
        }
        self.unfinished = self.unfinished.saturating_sub(self.items.len() as u64);
        self.items.drain(..).collect()
    }

    /// Whether who waits for it may look.
    fn is_there(&self, want: Want) -> bool {
        match want {
            Want::Item => !self.items.is_empty() || (self.closed && self.reserved == 0),
            Want::Place => self.has_place() || self.closed,
            Want::End => self.unfinished == 0,
        }
    }
}

const WANTS: [Want; 3] = [Want::Item, Want::Place, Want::End];

/// Both side by side, and who watches.
struct Pair {
    queue: Queue<u32, Want>,
    model: Model,
    next: u32,
    watching: Vec<Want>,
}

impl Pair {
    /// Those whose bells rang watch no more.
    fn rung(&mut self, bells: impl Iterator<Item = Want>) {
        for bell in bells {
            assert!(self.watching.contains(&bell), "a bell that nobody hung up");
            self.watching.retain(|want| *want != bell);
        }
    }

    fn step(&mut self, step: &Step) {
        self.next += 1;
        let item = self.next;
        let bells = match step {
            Step::Put => self.put(item),
            Step::Get => self.get(),
            Step::Reserve => self.reserve(),
            Step::PutReserved if self.model.reserved > 0 => {
                self.model.reserved -= 1;
                let put = self.queue.put_reserved(item);
                assert_eq!(put.is_err(), self.model.emptied);
                if !self.model.emptied {
                    self.model.push(item);
                }
                put.unwrap_or_else(|(_, wakes)| wakes).fire().collect()
            }
            Step::GiveBack if self.model.reserved > 0 => {
                self.model.reserved -= 1;
                self.queue.give_back().fire().collect()
            }
            Step::PutReserved | Step::GiveBack => Vec::new(),
            Step::Unget => self.unget(),
            Step::Finish => self.finish(),
            Step::Close(immediate) => {
                let (dropped, wakes) = self.queue.close(*immediate).unwrap();
                assert_eq!(Vec::from(dropped), self.model.close(*immediate));
                wakes.fire().collect()
            }
            Step::Move => self.move_away_and_back(),
            Step::Watch(which) => self.watch(WANTS[usize::from(*which)]),
        };
        self.rung(bells.into_iter());
        // Whoever still watches has missed nothing.
        for want in &self.watching {
            assert!(!self.model.is_there(*want), "{want:?} is there, and its bell did not ring");
        }
    }

    fn put(&mut self, item: u32) -> Vec<Want> {
        let put = self.queue.try_put(item).map(|wakes| wakes.fire().collect::<Vec<_>>());
        match (put, self.model.put(item)) {
            (Ok(bells), Ok(())) => bells,
            (Err(ours), Err(model)) => {
                assert_eq!(ours, model);
                Vec::new()
            }
            (ours, model) => panic!("{ours:?}, but the model says {model:?}"),
        }
    }

    fn get(&mut self) -> Vec<Want> {
        match (self.queue.try_get(), self.model.get()) {
            (Ok((item, wakes)), Ok(same)) => {
                assert_eq!(item, same);
                wakes.fire().collect()
            }
            (Err(ours), Err(model)) => {
                assert_eq!(ours, model);
                Vec::new()
            }
            (ours, model) => panic!("{ours:?}, but the model says {model:?}"),
        }
    }

    fn reserve(&mut self) -> Vec<Want> {
        let may = !self.model.closed && self.model.has_place();
        let reserved = self.queue.reserve(None);
        assert_eq!(reserved.is_ok(), may);
        self.model.reserved += usize::from(may);
        reserved.map(|wakes| wakes.fire().collect()).unwrap_or_default()
    }

    fn unget(&mut self) -> Vec<Want> {
        let (Ok((item, wakes)), Ok(same)) = (self.queue.try_get(), self.model.get()) else {
            return Vec::new();
        };
        assert_eq!(item, same);
        let bells = wakes.fire().chain(self.queue.unget(item).fire()).collect();
        self.model.unget(item);
        bells
    }

    fn finish(&mut self) -> Vec<Want> {
        let wakes = self.queue.finish();
        assert_eq!(wakes.is_some(), self.model.unfinished > 0);
        self.model.unfinished = self.model.unfinished.saturating_sub(1);
        wakes.map(|wakes| wakes.fire().collect()).unwrap_or_default()
    }

    fn move_away_and_back(&mut self) -> Vec<Want> {
        let (items, before, wakes) = self.queue.move_out();
        assert_eq!(items, self.model.items);
        assert_eq!(self.queue.try_get().map(|(item, _)| item), Err(GetError::Moved));
        wakes.and(self.queue.move_back(items, before.phase)).fire().collect()
    }

    fn watch(&mut self, want: Want) -> Vec<Want> {
        assert_eq!(self.queue.watch(want, 1, want), !self.model.is_there(want));
        if !self.model.is_there(want) && !self.watching.contains(&want) {
            self.watching.push(want);
        }
        Vec::new()
    }

    fn agree(&self) {
        let state = self.queue.state();
        assert_eq!((state.len, state.unfinished), (self.model.items.len(), self.model.unfinished));
        assert_eq!(state.phase == Phase::Closed, self.model.closed);
    }
}

proptest! {
    #[test]
    fn a_queue_does_what_its_model_does(steps in steps(), limit in 0..5_usize, lifo: bool) {
        let order = if lifo { Order::Lifo } else { Order::Fifo };
        let model = Model {
            items: VecDeque::new(),
            limit: if limit == 0 { usize::MAX } else { limit },
            lifo,
            reserved: 0,
            unfinished: 0,
            closed: false,
            emptied: false,
        };
        let queue = Queue::new(order, NonZeroUsize::new(limit));
        let mut pair = Pair { queue, model, next: 0, watching: Vec::new() };
        for step in &steps {
            pair.step(step);
            pair.agree();
        }
    }
}
