//! Who did what when: spans of thread states, bounded in number.
//!
//! Looks that follow each other and agree become one span. When there are too many spans, the shortest are
//! merged into the span of the same thread before them, so the picture gets coarser instead of ending.

use std::collections::HashMap;

use whichever_model::BlockedKind;

use crate::thread::ThreadState;

/// Spans that are kept at most.
const MOST_SPANS: usize = 2000;

/// One thread in one state for a while. Nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it was first seen so.
    pub start_ns: u64,
    /// When it was last known so.
    pub end_ns: u64,
    /// The thread's kernel id.
    pub native_id: u32,
    /// What it did.
    pub state: SpanState,
}

/// A thread's state, as coarse as a picture needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanState {
    /// Held the GIL.
    Held,
    /// Ran without it.
    Released,
    /// Waited for it.
    Waiting,
    /// Waited for a core.
    Queued,
    /// Was off-CPU in a call.
    Blocked(BlockedKind),
}

impl SpanState {
    /// As saved: `held`, `released`, `waiting`, `queued` or `blocked:KIND`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Held => "held".to_owned(),
            Self::Released => "released".to_owned(),
            Self::Waiting => "waiting".to_owned(),
            Self::Queued => "queued".to_owned(),
            Self::Blocked(kind) => format!("blocked:{}", kind.name()),
        }
    }
}

impl From<ThreadState> for SpanState {
    fn from(state: ThreadState) -> Self {
        match state {
            ThreadState::Held { .. } | ThreadState::HeldBlocked(_) => Self::Held,
            ThreadState::Free { on_core: true } => Self::Released,
            ThreadState::Free { on_core: false } => Self::Queued,
            ThreadState::Waiting { .. } => Self::Waiting,
            ThreadState::Blocked(kind) => Self::Blocked(kind),
        }
    }
}

/// The spans of one meter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    closed: Vec<Span>,
    open: HashMap<u32, Span>,
    /// Spans that were merged into others to bound their number.
    merged: u64,
    /// Spans shorter than this are merged when there are too many.
    grain_ns: u64,
}

impl Timeline {
    /// `native_id` is in `state` at `now_ns`. A look that comes later than `patience_ns` after the one before
    /// starts a new span: nobody knows what was in between.
    pub(crate) fn see(&mut self, native_id: u32, state: SpanState, now_ns: u64, patience_ns: u64) {
        let fresh = Span { start_ns: now_ns, end_ns: now_ns, native_id, state };
        let span = self.open.entry(native_id).or_insert(fresh);
        let is_late = now_ns.saturating_sub(span.end_ns) > patience_ns;
        if !is_late {
            span.end_ns = now_ns;
        }
        if is_late || span.state != state {
            let closed = std::mem::replace(span, fresh);
            self.closed.push(closed);
            self.bound();
        }
    }

    /// All spans, oldest first, and how many were merged away.
    pub(crate) fn spans(&self) -> (Vec<Span>, u64) {
        let mut all = self.clone();
        all.closed.extend(std::mem::take(&mut all.open).into_values());
        all.bound();
        all.closed.retain(|span| span.end_ns > span.start_ns);
        all.closed.sort_by_key(|span| (span.start_ns, span.native_id));
        (all.closed, all.merged)
    }

    fn bound(&mut self) {
        while self.closed.len() > MOST_SPANS {
            self.grain_ns = (self.grain_ns * 2).max(1_000_000);
            let before = self.closed.len();
            self.coarsen();
            self.merged += (before - self.closed.len()) as u64;
        }
    }

    /// Merge spans shorter than the grain into their thread's span before; drop those that stand alone.
    fn coarsen(&mut self) {
        self.closed.sort_by_key(|span| (span.native_id, span.start_ns));
        let mut kept: Vec<Span> = Vec::with_capacity(self.closed.len());
        for span in &self.closed {
            let is_short = span.end_ns - span.start_ns < self.grain_ns;
            match kept.last_mut().filter(|last| last.native_id == span.native_id) {
                Some(last) if last.end_ns == span.start_ns && (is_short || last.state == span.state) => {
                    last.end_ns = span.end_ns;
                }
                _ if is_short => {}
                _ => kept.push(*span),
            }
        }
        self.closed = kept;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks_that_agree_become_one_span() {
        let mut timeline = Timeline::default();
        for now in [0, 10, 20] {
            timeline.see(1, SpanState::Held, now, 50);
        }
        timeline.see(1, SpanState::Waiting, 30, 50);
        timeline.see(1, SpanState::Waiting, 40, 50);
        let (spans, merged) = timeline.spans();
        let seen: Vec<_> = spans.iter().map(|span| (span.start_ns, span.end_ns, span.state)).collect();
        assert_eq!(seen, [(0, 30, SpanState::Held), (30, 40, SpanState::Waiting)]);
        assert_eq!(merged, 0);
    }

    #[test]
    fn what_nobody_saw_is_not_filled_in() {
        let mut timeline = Timeline::default();
        for now in [0, 10, 1000, 1010] {
            timeline.see(1, SpanState::Held, now, 50);
        }
        let (spans, _) = timeline.spans();
        assert_eq!(
            spans.iter().map(|span| (span.start_ns, span.end_ns)).collect::<Vec<_>>(),
            [(0, 10), (1000, 1010)]
        );
    }

    proptest! {
        #[test]
        fn spans_are_bounded_and_do_not_overlap(looks in prop::collection::vec((0_u32..3, 0_u8..3, 1_u64..3_000_000), 0..9000)) {
            let mut timeline = Timeline::default();
            let mut now = 0;
            for (native_id, state, step) in looks {
                now += step;
                let state = [SpanState::Held, SpanState::Released, SpanState::Queued][usize::from(state)];
                timeline.see(native_id, state, now, 2_500_000);
            }
            let (spans, _) = timeline.spans();
            prop_assert!(spans.len() <= MOST_SPANS);
            for native_id in 0..3 {
                let own: Vec<_> = spans.iter().filter(|span| span.native_id == native_id).collect();
                prop_assert!(own.windows(2).all(|pair| pair[0].end_ns <= pair[1].start_ns));
            }
        }
    }
}
