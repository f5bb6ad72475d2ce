//! What a loop tells of itself: its figures, and callbacks that kept it from going on.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use whichever_sys::monotonic_ns;

use super::core::LoopCore;
use crate::lasting::name;

#[pymethods]
impl LoopCore {
    /// The figures by the names of `LoopStatistics`.
    fn _figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let totals = self.figures.with(py, |figures| figures.totals(monotonic_ns()));
        let (queued, timers) = self.agenda.with(py, |agenda| (agenda.ready.len(), agenda.timers.live()));
        let is_turning = self.turning.load(Ordering::Relaxed) != 0;
        let rest = if is_turning { totals.batch.saturating_sub(self.pulse.begun()) } else { 0 };
        let share = |part: f64, whole: u64| if whole == 0 { 0.0 } else { part / whole as f64 };
        let seconds = |ns: u64| ns as f64 * 1e-9;
        let answer = PyDict::new(py);
        answer.set_item("running_seconds", seconds(totals.ran_ns))?;
        answer.set_item("busy_share", share(totals.busy_ns as f64, totals.ran_ns))?;
        answer.set_item("recent_busy_share", totals.recent_busy_share)?;
        answer.set_item("lag_seconds", totals.mean_wait_s)?;
        answer.set_item("longest_lag_seconds", seconds(totals.longest_turn_ns))?;
        answer.set_item("timer_lag_seconds", share(seconds(totals.timers_late_ns), totals.timers))?;
        answer.set_item("longest_timer_lag_seconds", seconds(totals.latest_timer_ns))?;
        answer.set_item("ready", queued as u64 + rest)?;
        answer.set_item("most_ready", totals.most_ready)?;
        answer.set_item("timers", timers)?;
        answer.set_item("timers_fired", totals.timers)?;
        answer.set_item("turns", totals.turns)?;
        answer.set_item("callbacks", totals.callbacks)?;
        Ok(answer)
    }
}

impl LoopCore {
    /// Tell of a step that the watchdog found slow.
    #[cold]
    pub(super) fn tell_slow(
        &self,
        slf: &Bound<'_, Self>,
        callback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let Some(finding) = self.pulse.take_finding() else { return Ok(()) };
        let seconds = monotonic_ns().saturating_sub(finding.began_ns) as f64 * 1e-9;
        let args = (callback, finding.sight, seconds, finding.looks.in_words());
        slf.call_method1(name!(py, "_callback_blocked"), args).map(drop)
    }
}
