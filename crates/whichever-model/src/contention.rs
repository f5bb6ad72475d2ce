//! One holder at a time: what threads lose at the GIL beyond the roofline.
//!
//! Queueing for the GIL is a closed network of one server (the GIL) and a delay (everything else), solved by mean
//! value analysis (M. Reiser, S. S. Lavenberg, 1980). Its exponential service is a pessimist and the roofline
//! an optimist; the truth of even tasks lies between.

/// Seconds per task when `workers` meet one server for `service` seconds a task and spend `elsewhere` seconds off it.
pub(crate) fn queueing(service: f64, elsewhere: f64, workers: u32) -> f64 {
    if workers == 0 || service <= 0.0 {
        return elsewhere / f64::from(workers.max(1));
    }
    let mut queue = 0.0;
    let mut rate = 0.0;
    for customers in 1..=workers {
        let residence = service * (1.0 + queue);
        rate = f64::from(customers) / (residence + elsewhere);
        queue = rate * residence;
    }
    1.0 / rate
}

/// Of the seconds spent outside the GIL, the share in stretches too short for another thread to wake and use them.
///
/// `stretch` is the mean length of a release in seconds, `wake` the time a waiter needs to get going.
pub(crate) fn share_too_short(stretch: f64, wake: f64) -> f64 {
    if wake <= 0.0 { 0.0 } else { 1.0 / (1.0 + stretch / wake) }
}

/// How likely another of `workers` threads wants the GIL when one lets it go.
pub(crate) fn contested(held: f64, wall: f64, workers: u32) -> f64 {
    if wall <= 0.0 { 0.0 } else { (f64::from(workers.saturating_sub(1)) * held / wall).min(1.0) }
}

/// Seconds a release waits to come back while others run Python in long stretches: the convoy effect.
///
/// Each return waits for the rest of the holder's stretch, at most the switch interval. The GIL is busy
/// meanwhile, so this lengthens the cycle of one thread, not the use of the GIL.
pub(crate) fn convoy(releases: f64, held: f64, switch_interval: f64, contested: f64) -> f64 {
    if releases <= 0.0 {
        return 0.0;
    }
    let stretch = (held / (releases + 1.0)).min(switch_interval);
    releases * contested * stretch / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_only_holds_the_gil_is_not_helped_by_threads() {
        assert!((queueing(1.0, 0.0, 8) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn tasks_that_only_wait_do_not_meet() {
        assert!((queueing(0.0, 1.0, 8) - 0.125).abs() < 1e-12);
    }

    #[test]
    fn queueing_lies_between_the_roofline_and_no_overlap() {
        let per_task = queueing(0.5, 0.5, 2);
        assert!(per_task > 0.5 && per_task < 1.0);
    }

    #[test]
    fn short_releases_cannot_be_used_by_others() {
        assert!(share_too_short(1e-6, 30e-6) > 0.9);
        assert!(share_too_short(1e-2, 30e-6) < 0.01);
    }

    #[test]
    fn a_return_waits_at_most_the_switch_interval() {
        assert!((convoy(10.0, 100.0, 0.005, 1.0) - 10.0 * 0.005 / 2.0).abs() < 1e-9);
    }
}
