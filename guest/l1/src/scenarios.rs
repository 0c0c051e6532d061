// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The scenarios, one function for each group.

use nested_vmx::capability::MiscFeatures;
use nested_vmx::controls::{
    ExitControls, PinControls as Pin, PrimaryControls as Primary, SecondaryControls as Secondary,
};
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::vmcs::Field;

use crate::code;
use crate::layout;
use crate::scenario::{Controls, L1Event, Program, Scenario};

/// All scenarios, in the order in which the guest runs them.
pub fn all() -> Vec<Scenario> {
    [
        injections(),
        interrupts_off_in_l1(),
        sent_by_l2(),
        blocked(),
        inactive(),
        windows(),
        timers(),
        instructions(),
        failed_entries(),
        extended_page_tables(),
    ]
    .concat()
}

/// The one that the guest repeats while its VMM raises events.
pub(crate) fn storm() -> Scenario {
    let mut scenario = new("storm", Program::Count).waiting(Waiting::InterruptAcknowledged);
    scenario.controls.pin |= Pin::NMI_EXITING | Pin::VIRTUAL_NMIS;
    scenario
}

/// RFLAGS with nothing but the bit that is always 1, and with IF.
const RFLAGS: u64 = 0x2;
const RFLAGS_IF: u64 = 0x202;
const BLOCKING_BY_STI: u64 = 1 << 0;
const BLOCKING_BY_MOV_SS: u64 = 1 << 1;
const BLOCKING_BY_NMI: u64 = 1 << 3;
const HALTED: u64 = 1;
const SHUTDOWN: u64 = 2;

/// What waits for L1, and the controls by which that leaves L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Interrupt,
    InterruptAcknowledged,
    Nmi,
    NmiWithVirtualNmis,
    Init,
}

impl Waiting {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Interrupt,
        Self::InterruptAcknowledged,
        Self::Nmi,
        Self::NmiWithVirtualNmis,
        Self::Init,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing waits",
            Self::Interrupt => "an interrupt waits",
            Self::InterruptAcknowledged => "an interrupt waits, acknowledged on exit",
            Self::Nmi => "an NMI waits",
            Self::NmiWithVirtualNmis => "an NMI waits, virtual NMIs",
            Self::Init => "INIT waits",
        }
    }

    fn event(self) -> L1Event {
        match self {
            Self::Nothing => L1Event::None,
            Self::Interrupt | Self::InterruptAcknowledged => L1Event::ExternalInterrupt,
            Self::Nmi | Self::NmiWithVirtualNmis => L1Event::Nmi,
            Self::Init => L1Event::Init,
        }
    }
}

/// A scenario in which L2 runs `program` with interrupts on.
fn new(name: &str, program: Program) -> Scenario {
    Scenario {
        name: name.into(),
        controls: Controls::LONG,
        misc: MiscFeatures::empty(),
        fields: vec![
            (Field::GuestRip, code::program(program)),
            (Field::GuestRflags, RFLAGS_IF),
        ],
        event: L1Event::None,
        resume: false,
        interrupts_on: false,
        most_exits: 6,
    }
}

impl Scenario {
    fn with(mut self, field: Field, value: u64) -> Self {
        self.fields.push((field, value));
        self
    }

    /// L1 injects `event`.
    fn injecting(self, event: Event) -> Self {
        self.with(Field::VmEntryIntrInfoField, event.information().into())
            .with(
                Field::VmEntryExceptionErrorCode,
                event.error_code.unwrap_or(0).into(),
            )
            .with(
                Field::VmEntryInstructionLen,
                event.instruction_length.into(),
            )
    }

    /// Something waits for L1. Where it is an interrupt, L1 enters with its own interrupts on.
    fn waiting(mut self, waiting: Waiting) -> Self {
        let controls = &mut self.controls;
        match waiting {
            Waiting::Nothing | Waiting::Init => {}
            Waiting::Interrupt => controls.pin |= Pin::EXTERNAL_INTERRUPT_EXITING,
            Waiting::InterruptAcknowledged => {
                controls.pin |= Pin::EXTERNAL_INTERRUPT_EXITING;
                controls.exit |= ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT;
            }
            Waiting::Nmi => controls.pin |= Pin::NMI_EXITING,
            Waiting::NmiWithVirtualNmis => controls.pin |= Pin::NMI_EXITING | Pin::VIRTUAL_NMIS,
        }
        self.event = waiting.event();
        self.interrupts_on = self.event == L1Event::ExternalInterrupt;
        if waiting != Waiting::Nothing {
            self.name = format!("{}; {}", self.name, waiting.name());
        }
        self
    }

    fn resuming(mut self) -> Self {
        self.resume = true;
        self.name = format!("{}; VMRESUME", self.name);
        self
    }

    fn pin(mut self, controls: Pin) -> Self {
        self.controls.pin |= controls;
        self
    }

    fn primary(mut self, controls: Primary) -> Self {
        self.controls.primary |= controls;
        self
    }

    fn secondary(mut self, controls: Secondary) -> Self {
        self.controls.primary |= Primary::ACTIVATE_SECONDARY_CONTROLS;
        self.controls.secondary |= controls;
        self
    }
}

/// An interrupt, the vector and type of which L2 counts.
const INTERRUPT: Event = Event::external_interrupt(0x40);

/// One event of each type that can be injected, with its name.
fn each_injection() -> [(&'static str, Option<Event>); 9] {
    let software = |kind, vector, instruction_length| Event {
        kind,
        vector,
        error_code: None,
        instruction_length,
    };
    [
        ("no injection", None),
        ("injected interrupt", Some(INTERRUPT)),
        ("injected NMI", Some(Event::NMI)),
        ("injected #DE", Some(Event::exception(0, None))),
        ("injected #GP", Some(Event::exception(13, Some(0x18)))),
        (
            "injected INT 0x60",
            Some(software(EventType::SoftwareInterrupt, 0x60, 2)),
        ),
        (
            "injected INT1",
            Some(software(EventType::PrivilegedSoftwareException, 1, 1)),
        ),
        (
            "injected INT3",
            Some(software(EventType::SoftwareException, 3, 1)),
        ),
        (
            "injected pending MTF exit",
            Some(Event::new(EventType::Other, 0)),
        ),
    ]
}

/// `scenario`, with `event` if there is one. A pending MTF exit needs a processor that has the
/// monitor trap flag.
fn maybe_injecting(scenario: Scenario, event: Option<Event>) -> Scenario {
    match event {
        None => scenario,
        Some(event) if event.kind == EventType::Other => scenario
            .injecting(event)
            .primary(Primary::MONITOR_TRAP_FLAG),
        Some(event) => scenario.injecting(event),
    }
}

/// Each type of event for L2, with each event that waits for L1, by VMLAUNCH and by VMRESUME.
fn injections() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (name, event) in each_injection() {
        for waiting in Waiting::ALL {
            let scenario = maybe_injecting(new(name, Program::Nops).waiting(waiting), event);
            all.push(scenario.clone());
            // A VMLAUNCH before would meet the monitor trap flag.
            if !scenario
                .controls
                .primary
                .contains(Primary::MONITOR_TRAP_FLAG)
            {
                all.push(scenario.resuming());
            }
        }
    }
    all
}

/// L1's own interrupts are off when it enters L2: its exit controls, not its IF, decide.
fn interrupts_off_in_l1() -> Vec<Scenario> {
    let mut all = Vec::new();
    for waiting in [Waiting::Interrupt, Waiting::InterruptAcknowledged] {
        for (l2, rflags) in [("on", RFLAGS_IF), ("off", RFLAGS)] {
            for (name, event) in [("no injection", None), ("injected #GP", Some(13))] {
                let mut scenario = new(&format!("IF off in L1, {l2} in L2, {name}"), Program::Nops)
                    .with(Field::GuestRflags, rflags)
                    .waiting(waiting);
                if let Some(vector) = event {
                    scenario = scenario.injecting(Event::exception(vector, Some(0)));
                }
                scenario.interrupts_on = false;
                all.push(scenario);
            }
        }
    }
    all
}

/// What waits for L1 comes while L2 runs: L2 sends it.
fn sent_by_l2() -> Vec<Scenario> {
    let mut all = Vec::new();
    for waiting in &Waiting::ALL[1..] {
        let (name, program) = match waiting.event() {
            L1Event::ExternalInterrupt => ("L2 sends an interrupt", Program::SendInterrupt),
            L1Event::Nmi => ("L2 sends an NMI", Program::SendNmi),
            _ => ("L2 sends INIT", Program::SendInit),
        };
        let mut scenario = new(name, program).waiting(*waiting);
        scenario.event = L1Event::None;
        all.push(scenario.clone());
        scenario.name = format!("{}; injected interrupt before", scenario.name);
        all.push(scenario.injecting(INTERRUPT));
    }
    all
}

/// L2's interrupts are off or blocked, or its NMIs are.
fn blocked() -> Vec<Scenario> {
    let states = [
        ("IF off", RFLAGS, 0),
        ("blocking by STI", RFLAGS_IF, BLOCKING_BY_STI),
        ("blocking by MOV SS", RFLAGS_IF, BLOCKING_BY_MOV_SS),
        ("IF off, blocking by MOV SS", RFLAGS, BLOCKING_BY_MOV_SS),
        ("blocking by NMI", RFLAGS_IF, BLOCKING_BY_NMI),
    ];
    let mut all = Vec::new();
    for (name, rflags, blocking) in states {
        for waiting in Waiting::ALL {
            all.push(
                new(name, Program::Nops)
                    .with(Field::GuestRflags, rflags)
                    .with(Field::GuestInterruptibilityInfo, blocking)
                    .waiting(waiting),
            );
        }
    }
    // An exception may be injected while interrupts are blocked.
    for (name, rflags, blocking) in [states[0], states[4]] {
        for waiting in Waiting::ALL {
            all.push(
                new(&format!("{name}, injected #GP"), Program::Nops)
                    .with(Field::GuestRflags, rflags)
                    .with(Field::GuestInterruptibilityInfo, blocking)
                    .injecting(Event::exception(13, Some(0x18)))
                    .waiting(waiting),
            );
        }
    }
    all
}

/// L2 is halted when it is entered, or halts.
fn inactive() -> Vec<Scenario> {
    let mut all = Vec::new();
    for waiting in Waiting::ALL {
        let halted = |name: &str, rflags| {
            new(name, Program::Nops)
                .with(Field::GuestActivityState, HALTED)
                .with(Field::GuestRflags, rflags)
        };
        // With an event L2 wakes.
        all.push(
            halted("halted, injected interrupt", RFLAGS_IF)
                .injecting(INTERRUPT)
                .waiting(waiting),
        );
        all.push(
            halted("halted, injected NMI", RFLAGS_IF)
                .injecting(Event::NMI)
                .waiting(waiting),
        );
        all.push(
            halted("halted, injected #DB", RFLAGS)
                .injecting(Event::exception(1, None))
                .waiting(waiting),
        );
        // Without one it stays halted when L1's event was handled: for ever.
        if waiting != Waiting::Nothing {
            for (name, rflags) in [("halted", RFLAGS_IF), ("halted, IF off", RFLAGS)] {
                let mut scenario = halted(name, rflags).waiting(waiting);
                scenario.most_exits = 1;
                all.push(scenario);
            }
        }
    }
    // L1's event comes when L2 has halted.
    for waiting in [Waiting::Interrupt, Waiting::InterruptAcknowledged] {
        for (name, rflags) in [("IF on", RFLAGS_IF), ("IF off", RFLAGS)] {
            let mut scenario = new(&format!("HLT, {name}"), Program::Halt)
                .with(Field::GuestRflags, rflags)
                .waiting(waiting);
            scenario.name = scenario.name.replace("waits", "comes later");
            scenario.event = L1Event::Timer;
            scenario.interrupts_on = false;
            scenario.most_exits = 1;
            all.push(scenario);
        }
    }
    // States in which L2 executes nothing, which NMIs and INIT end.
    for waiting in [Waiting::Nmi, Waiting::NmiWithVirtualNmis, Waiting::Init] {
        let mut scenario = new("shutdown", Program::Nops)
            .with(Field::GuestActivityState, SHUTDOWN)
            .waiting(waiting);
        scenario.misc = MiscFeatures::SHUTDOWN;
        scenario.most_exits = 1;
        all.push(scenario);
    }
    // The two do not go together: the entry fails.
    let mut scenario = new("shutdown, injected interrupt", Program::Nops)
        .with(Field::GuestActivityState, SHUTDOWN)
        .injecting(INTERRUPT);
    scenario.misc = MiscFeatures::SHUTDOWN;
    all.push(scenario);
    all
}

/// Exits that tell when L2 can take an event.
fn windows() -> Vec<Scenario> {
    let interrupt = Primary::INTERRUPT_WINDOW_EXITING;
    let nmi = Primary::NMI_WINDOW_EXITING;
    let nmis = Pin::NMI_EXITING | Pin::VIRTUAL_NMIS;
    let mut all = Vec::new();
    for waiting in [
        Waiting::Nothing,
        Waiting::InterruptAcknowledged,
        Waiting::NmiWithVirtualNmis,
    ] {
        all.push(
            new("interrupt window", Program::Nops)
                .primary(interrupt)
                .waiting(waiting),
        );
        all.push(
            new("interrupt window, IF off", Program::AllowInterrupts)
                .primary(interrupt)
                .with(Field::GuestRflags, RFLAGS)
                .waiting(waiting),
        );
        all.push(
            new("interrupt window, blocking by STI", Program::Nops)
                .primary(interrupt)
                .with(Field::GuestInterruptibilityInfo, BLOCKING_BY_STI)
                .waiting(waiting),
        );
        all.push(
            new("interrupt window, injected interrupt", Program::Nops)
                .primary(interrupt)
                .injecting(INTERRUPT)
                .waiting(waiting),
        );
        let mut halted = new("interrupt window, halted", Program::Nops)
            .primary(interrupt)
            .with(Field::GuestActivityState, HALTED)
            .waiting(waiting);
        halted.most_exits = 1;
        all.push(halted);
        all.push(
            new("NMI window", Program::Nops)
                .primary(nmi)
                .pin(nmis)
                .waiting(waiting),
        );
        all.push(
            new("NMI window, injected NMI", Program::Nops)
                .primary(nmi)
                .pin(nmis)
                .injecting(Event::NMI)
                .waiting(waiting),
        );
        all.push(
            new("NMI window, blocking by MOV SS", Program::Nops)
                .primary(nmi)
                .pin(nmis)
                .with(Field::GuestInterruptibilityInfo, BLOCKING_BY_MOV_SS)
                .waiting(waiting),
        );
        all.push(
            new("both windows", Program::Nops)
                .primary(interrupt | nmi)
                .pin(nmis)
                .waiting(waiting),
        );
    }
    all
}

/// The preemption timer is 0 when L2 is entered.
fn timers() -> Vec<Scenario> {
    let mut all = Vec::new();
    for waiting in Waiting::ALL {
        for (name, event) in [
            ("preemption timer 0", None),
            ("preemption timer 0, injected interrupt", Some(INTERRUPT)),
            (
                "preemption timer 0, injected #GP",
                Some(Event::exception(13, Some(0x18))),
            ),
        ] {
            let scenario = new(name, Program::Nops)
                .pin(Pin::PREEMPTION_TIMER)
                .with(Field::VmxPreemptionTimerValue, 0)
                .waiting(waiting);
            all.push(maybe_injecting(scenario, event));
        }
    }
    all
}

/// What L2 executes causes exits, or not.
fn instructions() -> Vec<Scenario> {
    let mut all = vec![
        new("VMCALL", Program::Call),
        new("VMCALL", Program::Call).resuming(),
        new("CPUID", Program::Identify),
        new("HLT exiting", Program::Halt).primary(Primary::HLT_EXITING),
        new("INT 0x60", Program::Interrupt),
        new("count", Program::Count),
    ];
    for waiting in [Waiting::InterruptAcknowledged, Waiting::NmiWithVirtualNmis] {
        all.push(
            new("HLT exiting, injected interrupt", Program::Halt)
                .primary(Primary::HLT_EXITING)
                .injecting(INTERRUPT)
                .waiting(waiting),
        );
    }
    all
}

/// VM entries that fail. What waits for L1 does not come from L2 then.
fn failed_entries() -> Vec<Scenario> {
    let mut all = Vec::new();
    for waiting in [
        Waiting::Nothing,
        Waiting::InterruptAcknowledged,
        Waiting::NmiWithVirtualNmis,
    ] {
        all.push(
            new("invalid guest state: RFLAGS", Program::Nops)
                .with(Field::GuestRflags, 0)
                .injecting(Event::exception(0, None))
                .waiting(waiting),
        );
        all.push(
            new("invalid guest state: link pointer", Program::Nops)
                .with(Field::VmcsLinkPointer, 0x123)
                .waiting(waiting),
        );
        all.push(
            new("MSR area that cannot be loaded", Program::Nops)
                .with(Field::VmEntryMsrLoadAddr, layout::BAD_MSR_AREA)
                .with(Field::VmEntryMsrLoadCount, 1)
                .injecting(INTERRUPT)
                .waiting(waiting),
        );
    }
    all.push(new("invalid control", Program::Nops).with(Field::Cr3TargetCount, 0x1ff));
    all.push(new("invalid host state", Program::Nops).with(Field::HostTrSelector, 0));
    all.push(
        new("injected event of a reserved type", Program::Nops)
            .injecting(Event::new(EventType::Reserved, 0x20)),
    );
    all
}

/// L2 under extended page tables.
fn extended_page_tables() -> Vec<Scenario> {
    // Write-back, four levels.
    let pointer = |root: u64| root | 0x1e;
    let under = |name: &str, root| {
        new(name, Program::Count)
            .secondary(Secondary::ENABLE_EPT)
            .with(Field::EptPointer, pointer(root))
    };
    let mut all = Vec::new();
    for waiting in Waiting::ALL {
        all.push(under("EPT", layout::EPT).waiting(waiting));
        all.push(
            under("EPT, injected interrupt", layout::EPT)
                .injecting(INTERRUPT)
                .waiting(waiting),
        );
        // The entry ends before INIT is looked at, which would then wait for the next scenario.
        if waiting != Waiting::Init {
            all.push(
                under(
                    "EPT without L2's stack, injected interrupt",
                    layout::EPT_WITHOUT_STACK,
                )
                .injecting(INTERRUPT)
                .waiting(waiting),
            );
        }
    }
    all.push(
        under(
            "EPT without L2's stack, injected #GP",
            layout::EPT_WITHOUT_STACK,
        )
        .injecting(Event::exception(13, Some(0x18))),
    );
    all.push(under("EPT without L2's counter", layout::EPT_WITHOUT_STACK));
    all.push(
        under("EPT with a wrong entry, injected NMI", layout::EPT_WRONG).injecting(Event::NMI),
    );
    all
}
