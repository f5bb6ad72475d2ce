//! The seam to Python: converts, attaches, detaches, names errors; decides nothing.

mod auto;
mod ctrl_c;
mod event_loop;
mod finalizer;
mod future;
mod gil;
mod judge;
mod lasting;
mod meter;
mod outside;
mod pool;
mod queue;
mod raised;
mod raw_method;
mod threads;

use pyo3::prelude::*;

/// The native half of whichever. Private: import `whichever` instead.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::auto::{Scout, cut_short};
    #[pymodule_export]
    use super::event_loop::{
        BareSocket, DatagramCore, Handle, LoopCore, StreamCore, TimerHandle, await_data, take,
    };
    #[pymodule_export]
    use super::finalizer::Finalizer;
    #[pymodule_export]
    use super::future::{DrainingEvent, FutureCell};
    #[pymodule_export]
    use super::gil::end_visits;
    #[pymodule_export]
    use super::judge::{Pilot, decide_json, typical_costs};
    #[pymodule_export]
    use super::meter::{Meter, usable_cores};
    #[pymodule_export]
    use super::pool::{
        Descriptor, MapIterator, PoolCore, Slab, WorkerCore, adopt_template, after_fork_in_child,
        belongs_to_template, forget_worker, has_ended, new_token, share_buffer, watch_pid,
    };

    #[pymodule_export]
    use super::queue::QueueCore;
    #[pymodule_export]
    use super::threads::{ThreadMap, ThreadPoolCore, ThreadWorker, Timekeeper, refuse_tasks, refuses_tasks};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::event_loop::add_methods(module.py())?;
        super::queue::add_methods(module.py())?;
        let forget = pyo3::types::PyDict::new(module.py());
        forget.set_item("after_in_child", module.getattr("after_fork_in_child")?)?;
        module.py().import("os")?.getattr("register_at_fork")?.call((), Some(&forget))?;
        // Early, so late: what others have registered since may still need native threads.
        module.py().import("atexit")?.call_method1("register", (module.getattr("end_visits")?,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
