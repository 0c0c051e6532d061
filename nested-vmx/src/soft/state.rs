// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The logical processor's registers, between KVM's structures and a VMCS's guest-state area.

use alloc::boxed::Box;

use kvm_bindings::{kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

use crate::controls::EntryControls;
use crate::ept::{Access, AccessKind, Ept, Origin};
use crate::l0::{Hardware, Interruptibility};
use crate::memory::L1Memory;
use crate::operand::{Mode, Registers};
use crate::paging::PagingState;
use crate::registers::{cr0, cr4, efer, interruptibility, rflags};
use crate::vmcs::{Field, Kind, Vmcs};

use crate::capability::Processor;

/// Bits of a segment's access rights (SDM volume 3, table 26-2) by their positions.
mod rights {
    pub(super) const S: u32 = 4;
    pub(super) const DPL: u32 = 5;
    pub(super) const PRESENT: u32 = 7;
    pub(super) const AVAILABLE: u32 = 12;
    pub(super) const LONG: u32 = 13;
    pub(super) const BIG: u32 = 14;
    pub(super) const GRANULARITY: u32 = 15;
    pub(super) const UNUSABLE: u32 = 16;
}

/// The four fields of a segment register.
struct SegmentFields {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

macro_rules! segment {
    ($selector:ident, $base:ident, $limit:ident, $rights:ident) => {
        SegmentFields {
            selector: Field::$selector,
            base: Field::$base,
            limit: Field::$limit,
            rights: Field::$rights,
        }
    };
}

const ES: SegmentFields = segment!(GuestEsSelector, GuestEsBase, GuestEsLimit, GuestEsArBytes);
const CS: SegmentFields = segment!(GuestCsSelector, GuestCsBase, GuestCsLimit, GuestCsArBytes);
const SS: SegmentFields = segment!(GuestSsSelector, GuestSsBase, GuestSsLimit, GuestSsArBytes);
const DS: SegmentFields = segment!(GuestDsSelector, GuestDsBase, GuestDsLimit, GuestDsArBytes);
const FS: SegmentFields = segment!(GuestFsSelector, GuestFsBase, GuestFsLimit, GuestFsArBytes);
const GS: SegmentFields = segment!(GuestGsSelector, GuestGsBase, GuestGsLimit, GuestGsArBytes);
const LDTR: SegmentFields = segment!(
    GuestLdtrSelector,
    GuestLdtrBase,
    GuestLdtrLimit,
    GuestLdtrArBytes
);
const TR: SegmentFields = segment!(GuestTrSelector, GuestTrBase, GuestTrLimit, GuestTrArBytes);

/// A segment as its descriptor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    /// In bytes.
    pub(crate) limit: u64,
    /// As a VMCS has them (SDM volume 3, table 26-2).
    pub(crate) rights: u32,
}

impl Segment {
    pub(crate) fn dpl(&self) -> u8 {
        (self.rights >> rights::DPL & 3) as u8
    }

    /// Whether it is one of 64-bit code.
    pub(crate) fn is_long(&self) -> bool {
        self.rights >> rights::LONG & 1 != 0
    }
}

/// The low half of a register: all of it outside 64-bit mode.
pub(crate) const LOW: u64 = 0xffff_ffff;

/// DR6.BS: a single step.
pub(crate) const DR6_BS: u64 = 1 << 14;

/// Numbers of general-purpose registers.
pub(crate) const RAX: usize = 0;
pub(crate) const RCX: usize = 1;
pub(crate) const RDX: usize = 2;
const RSP: usize = 4;

/// The registers of the guest that runs, L1 or L2: what a VMCS has of them, and the
/// general-purpose registers and CR2, which no VMCS has.
#[derive(Clone, Debug)]
pub(crate) struct CpuState {
    /// The guest-state area, with the controls that came with it.
    pub(crate) vmcs: Box<Vmcs>,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15. RSP here is of no account: the VMCS has it.
    pub(crate) gpr: [u64; 16],
    /// CR2.
    pub(crate) cr2: u64,
    /// What differs from what KVM has.
    pub(crate) stale: Stale,
}

/// What of the registers was changed since KVM had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// Nothing.
    #[default]
    Nothing,
    /// General-purpose registers, RIP, RSP, RFLAGS.
    General,
    /// Segments, control registers, tables as well.
    All,
}

impl CpuState {
    pub(crate) fn new(vmcs: Vmcs) -> Self {
        Self {
            vmcs: Box::new(vmcs),
            gpr: [0; 16],
            cr2: 0,
            stale: Stale::All,
        }
    }

    pub(crate) fn changed(&mut self, what: Stale) {
        self.stale = self.stale.max(what);
    }

    pub(crate) fn rip(&self) -> u64 {
        self.vmcs.guest_rip()
    }

    pub(crate) fn set_rip(&mut self, rip: u64) {
        let rip = match self.mode() {
            Mode::Bits64 => rip,
            Mode::Bits32 => rip & 0xffff_ffff,
            Mode::Bits16 => rip & 0xffff,
        };
        self.vmcs.write(Field::GuestRip, rip);
        self.changed(Stale::General);
    }

    pub(crate) fn rflags(&self) -> u64 {
        self.vmcs.guest_rflags()
    }

    pub(crate) fn set_rflags(&mut self, flags: u64) {
        self.vmcs.write(Field::GuestRflags, flags);
        self.changed(Stale::General);
    }

    pub(crate) fn rsp(&self) -> u64 {
        self.vmcs.guest_rsp()
    }

    pub(crate) fn set_rsp(&mut self, rsp: u64) {
        self.vmcs.write(Field::GuestRsp, rsp);
        self.changed(Stale::General);
    }

    /// A general-purpose register, RSP among them.
    pub(crate) fn register(&self, number: usize) -> u64 {
        match number {
            RSP => self.rsp(),
            _ => self.gpr.get(number).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn set_register(&mut self, number: usize, value: u64) {
        match (number, self.gpr.get_mut(number)) {
            (RSP, _) => self.set_rsp(value),
            (_, Some(register)) => *register = value,
            _ => {}
        }
        self.changed(Stale::General);
    }

    /// Blocking by STI, MOV SS, NMI.
    pub(crate) fn blocking(&self) -> u32 {
        self.vmcs.guest_interruptibility_info()
    }

    pub(crate) fn set_blocking(&mut self, blocking: u32) {
        self.vmcs
            .write(Field::GuestInterruptibilityInfo, blocking.into());
    }

    /// An instruction was executed: what blocks for one instruction does so no longer.
    pub(crate) fn end_shadow(&mut self) {
        let shadow = interruptibility::STI | interruptibility::MOV_SS;
        self.set_blocking(self.blocking() & !shadow);
    }

    /// RIP goes behind an instruction that was executed for the guest.
    pub(crate) fn skip(&mut self, length: u64) {
        self.set_rip(self.rip().wrapping_add(length));
        self.end_shadow();
    }

    /// Whether STI, CLI and the like are allowed.
    pub(crate) fn may_change_if(&self) -> bool {
        let level = (self.rflags() & rflags::IOPL) >> 12;
        self.rflags() & rflags::VM == 0 && u64::from(self.cpl()) <= level
    }

    /// Executes STI.
    pub(crate) fn sti(&mut self, length: u64) {
        let flags = self.rflags();
        self.skip(length);
        if flags & rflags::IF == 0 {
            self.set_rflags(flags | rflags::IF);
            self.set_blocking(self.blocking() | interruptibility::STI);
        }
    }

    /// Whether IA-32e mode is active.
    pub(crate) fn is_long(&self) -> bool {
        self.vmcs.guest_ia32_efer() & efer::LMA != 0
    }

    /// The size of code.
    pub(crate) fn mode(&self) -> Mode {
        let rights = self.vmcs.guest_cs_ar_bytes();
        if self.is_long() && rights >> rights::LONG & 1 != 0 {
            return Mode::Bits64;
        }
        match rights >> rights::BIG & 1 {
            0 => Mode::Bits16,
            _ => Mode::Bits32,
        }
    }

    pub(crate) fn is_protected(&self) -> bool {
        self.vmcs.guest_cr0() & cr0::PE != 0
    }

    /// The current privilege level. Real mode has the highest, virtual-8086 mode the lowest.
    pub(crate) fn cpl(&self) -> u8 {
        if !self.is_protected() {
            return 0;
        }
        if self.rflags() & rflags::VM != 0 {
            return 3;
        }
        (self.vmcs.guest_ss_ar_bytes() >> rights::DPL & 3) as u8
    }

    /// The linear address of the next instruction.
    pub(crate) fn linear_rip(&self) -> u64 {
        match self.mode() {
            Mode::Bits64 => self.rip(),
            _ => self.vmcs.guest_cs_base().wrapping_add(self.rip()) & 0xffff_ffff,
        }
    }

    /// The linear address of the top of the stack.
    pub(crate) fn linear_rsp(&self) -> u64 {
        if self.mode() == Mode::Bits64 {
            return self.rsp();
        }
        let is_big = self.vmcs.guest_ss_ar_bytes() >> rights::BIG & 1 != 0;
        let offset = self.rsp() & if is_big { LOW } else { 0xffff };
        self.vmcs.guest_ss_base().wrapping_add(offset) & LOW
    }

    /// With PAE paging, takes the PDPTEs from memory: KVM does not tell those that it has loaded, and an
    /// AMD processor reads them with each walk. Where there is no memory, they are not present.
    pub(crate) fn load_pdptes(&mut self, memory: &dyn L1Memory, ept: Option<&Ept>) {
        let is_pae = self.vmcs.guest_cr0() & cr0::PG != 0 && self.vmcs.guest_cr4() & cr4::PAE != 0;
        if !is_pae || self.is_long() {
            return;
        }
        let table = self.vmcs.guest_cr3() & LOW & !0x1f;
        let access = Access::new(AccessKind::READ, Origin::Physical);
        let table = match ept {
            Some(ept) => ept
                .translate(memory, table, &access, None)
                .map(|found| found.address)
                .ok(),
            None => Some(table),
        };
        let fields = [
            Field::GuestPdptr0,
            Field::GuestPdptr1,
            Field::GuestPdptr2,
            Field::GuestPdptr3,
        ];
        for (at, field) in (0..).step_by(8).zip(fields) {
            let pdpte = table.and_then(|table| memory.read_u64(table + at).ok());
            self.vmcs.write(field, pdpte.unwrap_or_default());
        }
    }

    /// What the guest's paging depends on.
    pub(crate) fn paging(&self, processor: Processor) -> PagingState {
        PagingState {
            cpl: self.cpl(),
            ..PagingState::from_vmcs(&self.vmcs, processor)
        }
    }

    /// What addresses of operands depend on.
    pub(crate) fn registers(&self, processor: Processor) -> Registers {
        let width = processor.linear_address_width(self.vmcs.guest_cr4());
        Registers::from_vmcs(&self.vmcs, self.gpr, width)
    }

    /// The entry control that tells of IA-32e mode follows IA32_EFER, by which code that looks at a
    /// VMCS knows the mode.
    pub(crate) fn agree_on_mode(&mut self) {
        let mut controls = self.vmcs.entry();
        controls.set(EntryControls::IA32E_MODE_GUEST, self.is_long());
        self.vmcs
            .write(Field::VmEntryControls, controls.bits().into());
    }

    /// For KVM_SET_REGS.
    pub(crate) fn to_regs(&self) -> kvm_regs {
        let [
            rax,
            rcx,
            rdx,
            rbx,
            _,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
        ] = self.gpr;
        kvm_regs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp: self.rsp(),
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip: self.rip(),
            rflags: self.rflags(),
        }
    }

    pub(crate) fn take_regs(&mut self, regs: &kvm_regs) {
        self.gpr = [
            regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi,
            regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
        ];
        self.vmcs.write(Field::GuestRsp, regs.rsp);
        self.vmcs.write(Field::GuestRip, regs.rip);
        self.vmcs.write(Field::GuestRflags, regs.rflags);
    }

    fn segment(&self, fields: &SegmentFields) -> kvm_segment {
        let rights = self.vmcs.read(fields.rights) as u32;
        let bit = |position: u32| (rights >> position & 1) as u8;
        kvm_segment {
            base: self.vmcs.read(fields.base),
            limit: self.vmcs.read(fields.limit) as u32,
            selector: self.vmcs.read(fields.selector) as u16,
            type_: (rights & 0xf) as u8,
            present: bit(rights::PRESENT),
            dpl: (rights >> rights::DPL & 3) as u8,
            db: bit(rights::BIG),
            s: bit(rights::S),
            l: bit(rights::LONG),
            g: bit(rights::GRANULARITY),
            avl: bit(rights::AVAILABLE),
            unusable: bit(rights::UNUSABLE),
            ..kvm_segment::default()
        }
    }

    fn take_segment(&mut self, fields: &SegmentFields, segment: &kvm_segment) {
        let at = |value: u8, position: u32| u64::from(value & 1) << position;
        let rights = u64::from(segment.type_ & 0xf)
            | at(segment.s, rights::S)
            | u64::from(segment.dpl & 3) << rights::DPL
            | at(segment.present, rights::PRESENT)
            | at(segment.avl, rights::AVAILABLE)
            | at(segment.l, rights::LONG)
            | at(segment.db, rights::BIG)
            | at(segment.g, rights::GRANULARITY)
            | at(segment.unusable, rights::UNUSABLE);
        self.vmcs.write(fields.selector, segment.selector.into());
        self.vmcs.write(fields.base, segment.base);
        self.vmcs.write(fields.limit, segment.limit.into());
        self.vmcs.write(fields.rights, rights);
    }

    /// For KVM_SET_SREGS; `before` has what is not the guest state of a VMCS.
    ///
    /// KVM without VMX refuses CR4.VMXE, which is the VMM's to show.
    pub(crate) fn to_sregs(&self, before: &kvm_sregs) -> kvm_sregs {
        let table = |base, limit| kvm_dtable {
            base,
            limit,
            ..kvm_dtable::default()
        };
        kvm_sregs {
            cs: self.segment(&CS),
            ds: self.segment(&DS),
            es: self.segment(&ES),
            fs: self.segment(&FS),
            gs: self.segment(&GS),
            ss: self.segment(&SS),
            tr: self.segment(&TR),
            ldt: self.segment(&LDTR),
            gdt: table(
                self.vmcs.guest_gdtr_base(),
                self.vmcs.guest_gdtr_limit() as u16,
            ),
            idt: table(
                self.vmcs.guest_idtr_base(),
                self.vmcs.guest_idtr_limit() as u16,
            ),
            cr0: self.vmcs.guest_cr0(),
            cr2: self.cr2,
            cr3: self.vmcs.guest_cr3(),
            cr4: self.vmcs.guest_cr4() & !cr4::VMXE,
            efer: self.vmcs.guest_ia32_efer(),
            apic_base: before.apic_base,
            cr8: before.cr8,
            interrupt_bitmap: [0; 4],
        }
    }

    /// Loads CS as a branch that succeeds does.
    pub(crate) fn load_code_segment(&mut self, selector: u16, segment: &Segment) {
        self.load_segment(&CS, selector, segment);
    }

    /// Loads SS, and with it the privilege level.
    pub(crate) fn load_stack_segment(&mut self, selector: u16, segment: &Segment) {
        self.load_segment(&SS, selector, segment);
    }

    /// CS: its selector, and the segment.
    pub(crate) fn code_segment(&self) -> (u16, Segment) {
        self.loaded_segment(&CS)
    }

    /// SS.
    pub(crate) fn stack_segment(&self) -> (u16, Segment) {
        self.loaded_segment(&SS)
    }

    fn loaded_segment(&self, fields: &SegmentFields) -> (u16, Segment) {
        let segment = Segment {
            base: self.vmcs.read(fields.base),
            limit: self.vmcs.read(fields.limit),
            rights: self.vmcs.read(fields.rights) as u32,
        };
        (self.vmcs.read(fields.selector) as u16, segment)
    }

    fn load_segment(&mut self, fields: &SegmentFields, selector: u16, segment: &Segment) {
        const ACCESSED: u32 = 1;
        for (field, value) in [
            (fields.selector, selector.into()),
            (fields.base, segment.base),
            (fields.limit, segment.limit),
            (fields.rights, (segment.rights | ACCESSED).into()),
        ] {
            self.vmcs.write(field, value);
        }
        self.changed(Stale::All);
    }

    pub(crate) fn take_sregs(&mut self, sregs: &kvm_sregs) {
        for (fields, segment) in [
            (&CS, &sregs.cs),
            (&DS, &sregs.ds),
            (&ES, &sregs.es),
            (&FS, &sregs.fs),
            (&GS, &sregs.gs),
            (&SS, &sregs.ss),
            (&TR, &sregs.tr),
            (&LDTR, &sregs.ldt),
        ] {
            self.take_segment(fields, segment);
        }
        let vmxe = self.vmcs.guest_cr4() & cr4::VMXE;
        self.cr2 = sregs.cr2;
        for (field, value) in [
            (Field::GuestGdtrBase, sregs.gdt.base),
            (Field::GuestGdtrLimit, sregs.gdt.limit.into()),
            (Field::GuestIdtrBase, sregs.idt.base),
            (Field::GuestIdtrLimit, sregs.idt.limit.into()),
            (Field::GuestCr0, sregs.cr0),
            (Field::GuestCr3, sregs.cr3),
            (Field::GuestCr4, sregs.cr4 | vmxe),
            (Field::GuestIa32Efer, sregs.efer),
        ] {
            self.vmcs.write(field, value);
        }
        self.agree_on_mode();
    }

    /// DR7 is the one debug register that is guest state.
    pub(crate) fn to_debug_registers(&self, before: kvm_debugregs) -> kvm_debugregs {
        kvm_debugregs {
            dr7: self.vmcs.guest_dr7(),
            ..before
        }
    }
}

impl Hardware for CpuState {
    fn load(&mut self, vmcs: &Vmcs) {
        (*self.vmcs).clone_from(vmcs);
        self.agree_on_mode();
        self.stale = Stale::All;
    }

    fn store(&self, vmcs: &mut Vmcs) {
        for &field in Field::ALL {
            if field.kind() == Kind::Guest {
                vmcs.write(field, self.vmcs.read(field));
            }
        }
    }

    fn interruptibility(&self) -> Interruptibility {
        Interruptibility {
            rflags: self.rflags(),
            state: self.blocking(),
        }
    }

    fn registers(&self) -> [u64; 16] {
        let mut gpr = self.gpr;
        if let Some(rsp) = gpr.get_mut(RSP) {
            *rsp = self.rsp();
        }
        gpr
    }
}
