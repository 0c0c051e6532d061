// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Many vCPUs at once: signal all, then wait for all, so that the wait is that for the slowest.
//!
//! Each function goes on past a vCPU that fails, and reports the first one that did; which others
//! did, each one's [`VcpuHandle::phase`] tells. Those that wait do nothing at all on the thread of one
//! of the vCPUs.

use vcpu_requests::Request;

use crate::{Deadline, Error, Vcpu, VcpuHandle};

/// Pauses all of them; see [`VcpuHandle::pause`].
///
/// # Errors
/// [`Error::OneOfMany`].
pub fn pause_all<V: Vcpu, R: Request>(
    vcpus: &[VcpuHandle<V, R>],
    deadline: Deadline,
) -> Result<(), Error> {
    first_error(vcpus.iter().map(VcpuHandle::not_own_thread))?;
    let asked: Vec<_> = vcpus.iter().map(VcpuHandle::begin_pause).collect();
    first_error(asked.into_iter().map(|asked| asked?.wait(deadline)))
}

/// Resumes all of them; see [`VcpuHandle::resume`].
///
/// # Errors
/// [`Error::OneOfMany`].
pub fn resume_all<V: Vcpu, R: Request>(vcpus: &[VcpuHandle<V, R>]) -> Result<(), Error> {
    first_error(vcpus.iter().map(VcpuHandle::resume))
}

/// Makes `request` on all of them, and waits if it is a WAIT one; see [`VcpuHandle::request`].
///
/// # Errors
/// [`Error::OneOfMany`].
pub fn request_all<V: Vcpu, R: Request>(
    vcpus: &[VcpuHandle<V, R>],
    request: R,
    deadline: Deadline,
) -> Result<(), Error> {
    let tickets: Vec<_> = vcpus
        .iter()
        .map(|vcpu| vcpu.begin_request(request))
        .collect();
    first_error(
        vcpus
            .iter()
            .zip(tickets)
            .map(|(vcpu, ticket)| match ticket? {
                Some(ticket) => vcpu.wait_left(ticket, deadline),
                None => Ok(()),
            }),
    )
}

/// Asks all of them to stop and waits until they have; see [`VcpuHandle::stop`].
///
/// # Errors
/// [`Error::OneOfMany`].
pub fn stop_all<V: Vcpu, R: Request>(
    vcpus: &[VcpuHandle<V, R>],
    deadline: Deadline,
) -> Result<(), Error> {
    first_error(vcpus.iter().map(VcpuHandle::not_own_thread))?;
    let asked: Vec<_> = vcpus.iter().map(VcpuHandle::stop).collect();
    first_error(vcpus.iter().zip(asked).map(|(vcpu, asked)| {
        asked?;
        vcpu.wait(deadline).map(drop)
    }))
}

/// Runs through all of `results` and returns the first error.
fn first_error(results: impl Iterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let mut first = Ok(());
    for (index, result) in results.enumerate() {
        if let (Ok(()), Err(source)) = (&first, result) {
            first = Err(Error::OneOfMany {
                index,
                source: Box::new(source),
            });
        }
    }
    first
}
