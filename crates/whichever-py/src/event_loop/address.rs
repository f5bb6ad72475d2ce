//! Socket addresses between Python and the kernel. Nothing is looked up here: what is no literal is left to Python.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStringExt;

use crate::lasting::name;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use whichever_sys::Address;

/// The families whose addresses are known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V4,
    V6,
    Unix,
    /// Any other, whose sockets the standard library's transports serve.
    Other,
}

impl Family {
    /// A socket's family.
    pub(super) fn of(sock: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = sock.py();
        let family: String = sock.getattr(name!(py, "family"))?.getattr(name!(py, "name"))?.extract()?;
        Ok(match family.as_str() {
            "AF_INET" => Self::V4,
            "AF_INET6" => Self::V6,
            "AF_UNIX" => Self::Unix,
            _ => Self::Other,
        })
    }

    pub(super) fn is_ip(self) -> bool {
        matches!(self, Self::V4 | Self::V6)
    }
}

/// What Python calls a socket's address as the kernel has it; None for a name, and for what is no address of the family.
pub(super) fn parse(family: Family, address: &Bound<'_, PyAny>) -> Option<Address> {
    if family == Family::Unix {
        return match address.cast::<PyString>() {
            Ok(path) => Address::unix(path.to_str().ok()?.as_bytes()),
            Err(_) => Address::unix(address.cast::<PyBytes>().ok()?.as_bytes()),
        };
    }
    let parts = address.cast::<PyTuple>().ok()?;
    let number = |index| parts.get_item(index).ok()?.extract::<u32>().ok();
    let host = parts.get_item(0).ok()?;
    let host = host.cast::<PyString>().ok()?.to_str().ok()?;
    let port = u16::try_from(number(1)?).ok()?;
    match (family, parts.len()) {
        (Family::V4, 2) => {
            Some(Address::ip(SocketAddr::new(IpAddr::V4(host.parse::<Ipv4Addr>().ok()?), port)))
        }
        (Family::V6, 2..=4) => {
            let ip = host.parse::<Ipv6Addr>().ok()?;
            let flow = if parts.len() > 2 { number(2)? } else { 0 };
            let scope = if parts.len() > 3 { number(3)? } else { 0 };
            Some(Address::ip(SocketAddrV6::new(ip, port, flow, scope).into()))
        }
        _ => None,
    }
}

/// An address as Python's sockets give it.
pub(super) fn as_python<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    match address.as_ip() {
        Some(SocketAddr::V4(own)) => Ok((own.ip().to_string(), own.port()).into_pyobject(py)?.into_any()),
        Some(SocketAddr::V6(own)) => {
            let parts = (own.ip().to_string(), own.port(), own.flowinfo(), own.scope_id());
            Ok(parts.into_pyobject(py)?.into_any())
        }
        None => match address.as_unix() {
            // Abstract names are bytes, paths are text in the file system's encoding.
            Some(name) if name.first() == Some(&0) => Ok(PyBytes::new(py, &name).into_any()),
            Some(name) => Ok(OsString::from_vec(name).into_pyobject(py)?.into_any()),
            None => Ok(py.None().into_bound(py)),
        },
    }
}
