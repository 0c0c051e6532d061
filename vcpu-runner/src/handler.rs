// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a VMM does with exits and requests.

use vcpu_requests::Request;

use crate::{Exit, ImmediateExit, NotEntered, Vcpu};

/// The VMM's side of one vCPU: it is called on the vCPU's own thread, between entries.
pub trait Handler<V: Vcpu> {
    /// What is asked of this vCPU, declared with [`vcpu_requests::requests!`]. Bits 24 to 31 are the
    /// loop's own; using one of them does not compile:
    ///
    /// ```compile_fail,E0080
    /// use vcpu_runner::scripted::ScriptedVcpu;
    /// use vcpu_runner::{Exit, Flow, Handler, Runner};
    ///
    /// vcpu_requests::requests! { enum Ask { Mine = 24 } }
    /// # struct Machine;
    /// impl Handler<ScriptedVcpu> for Machine {
    ///     type Request = Ask;
    ///     // ...
    /// #   type Error = ();
    /// #   fn exit(&mut self, _: Exit<'_>) -> Result<Flow, ()> { Ok(Flow::Stop) }
    /// #   fn request(&mut self, _: Ask, _: &mut ScriptedVcpu) -> Result<Flow, ()> { Ok(Flow::Stop) }
    /// }
    /// # Runner::new(ScriptedVcpu::new([]), Machine).run();
    /// ```
    type Request: Request;

    /// What makes the vCPU's thread end. It reaches whoever joins the thread.
    type Error: Send + 'static;

    /// An exit. Data that the guest reads go into the exit's slice.
    ///
    /// The vCPU's registers are not at hand, since the exit's I/O is not finished; return
    /// [`Flow::Inspect`] to get them.
    ///
    /// # Errors
    /// Ends the thread.
    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Self::Error>;

    /// A request that was made and is now taken. One that this method makes, also the same again,
    /// is handled before the next entry too.
    ///
    /// # Errors
    /// Ends the thread.
    fn request(&mut self, request: Self::Request, vcpu: &mut V) -> Result<Flow, Self::Error>;

    /// Whether [`request`](Self::request) looks at this vCPU's registers or sets them. The loop
    /// then finishes pending I/O first, which costs a KVM_RUN that enters nothing.
    fn needs_registers(&self, request: Self::Request) -> bool {
        let _ = request;
        true
    }

    /// Called after [`exit`](Self::exit) returned [`Flow::Inspect`].
    ///
    /// # Errors
    /// Ends the thread.
    fn inspect(&mut self, vcpu: &mut V) -> Result<Flow, Self::Error> {
        let _ = vcpu;
        Ok(Flow::Continue)
    }

    /// Called once for each immediate exit that was asked for
    /// ([`VcpuHandle::request_immediate_exit`](crate::VcpuHandle::request_immediate_exit)), after
    /// the entry and before anything else is handled. An exit of the guest's own that the entry
    /// brought was given to [`exit`](Self::exit) before, and its I/O is finished.
    ///
    /// An entry that was not made is no failure of the vCPU: what was to be injected waits for the
    /// next one. A handler that cannot live with that returns an error here.
    ///
    /// # Errors
    /// Ends the thread.
    fn immediate_exit(
        &mut self,
        result: &Result<ImmediateExit, NotEntered>,
        vcpu: &mut V,
    ) -> Result<Flow, Self::Error> {
        let _ = (result, vcpu);
        Ok(Flow::Continue)
    }
}

/// What comes after an exit or a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// Go on as before.
    #[default]
    Continue,
    /// The guest is halted: the thread sleeps instead of entering. A request wakes it and is
    /// handled, unless it is NO_WAKEUP; the guest stays halted until one is answered with
    /// [`Flow::Runnable`].
    Halt,
    /// The guest is halted no longer (an interrupt was injected, say): enter it.
    Runnable,
    /// Call [`Handler::inspect`] with the vCPU.
    ///
    /// The exit's I/O is NOT finished first: after KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_DEBUG and the
    /// like there is none.
    Inspect,
    /// End the thread.
    Stop,
}
