// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses through extended page tables that are any bytes, in a memory that another processor
//! writes to meanwhile.

mod memory;

use arbitrary::Unstructured;
use memory::{HostileMemory, PAGES};
use nested_vmx::capability::{Capabilities, EptVpid, Processor};
use nested_vmx::ept::{
    Access, AccessKind, Ept, EptFault, Eptp, HostPage, Origin, PageModificationLog, PageSize,
    Permissions, ShadowEntry, Translation, Violation,
};

/// What one access needs at most: 8 attempts with 5 reads, 5 exchanges and an entry of the log.
const MOST_STEPS: u32 = 8 * 11;

/// What the input describes, beside the memory.
struct Case {
    physical_address_width: u8,
    ept_vpid: u64,
    eptp: u64,
    mode_based: bool,
    has_log: bool,
    log_index: u16,
    log_page: u8,
    qualification: u32,
    guest_physical: u64,
}

impl Case {
    fn from_input(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        Ok(Self {
            physical_address_width: input.arbitrary()?,
            ept_vpid: input.arbitrary()?,
            eptp: input.arbitrary()?,
            mode_based: input.arbitrary()?,
            has_log: input.arbitrary()?,
            log_index: input.arbitrary()?,
            log_page: input.arbitrary()?,
            qualification: input.arbitrary()?,
            guest_physical: input.arbitrary()?,
        })
    }
}

/// Makes the access that the input describes.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(case) = Case::from_input(&mut input) else {
        return;
    };
    let Ok(memory) = HostileMemory::from_input(&mut input) else {
        return;
    };
    let mut capabilities = Capabilities::none(Processor::new(case.physical_address_width.into()));
    capabilities.ept_vpid = EptVpid::from_bits_truncate(case.ept_vpid);
    let ept = Ept::new(Eptp(case.eptp), &capabilities, case.mode_based);
    let access = Access::from_qualification(case.qualification.into());
    let log_address = u64::from(case.log_page) % (PAGES + 1) * 4096;
    let mut log = case
        .has_log
        .then(|| PageModificationLog::new(log_address, case.log_index));

    let before = memory.words();
    let result = ept.translate(&memory, case.guest_physical, &access, log.as_mut());
    assert!(memory.steps() <= MOST_STEPS, "{} steps", memory.steps());
    check_log(&case, log.as_ref(), &result);
    let slot = log_address + u64::from(case.log_index) * 8;
    check_changes(&memory, &before, case.has_log.then_some(slot));
    match result {
        Ok(page) => {
            check_page(&ept, &capabilities, &access, &case, &page);
            check_shadow(case.guest_physical, &page);
        }
        Err(EptFault::Violation(violation)) => {
            check_violation(&ept, &access, &case, &violation);
        }
        Err(EptFault::LogFull) => assert!(case.has_log && case.log_index >= 512),
        Err(EptFault::Changing) => assert!(memory.is_hostile() || log.is_some()),
        Err(EptFault::Misconfiguration { .. } | EptFault::Memory(_)) => {}
    }
    if !memory.is_hostile() && log.is_none() {
        check_again(&ept, &memory, &access, &case, result);
    }
}

/// Whether the access writes: with accessed and dirty flags, page walks do.
fn writes(ept: &Ept, access: &Access) -> bool {
    let walks = access.origin == Origin::PagingStructure && ept.eptp().has_accessed_dirty();
    walks || access.kind.contains(AccessKind::WRITE)
}

/// Bits 2:0 of the qualification, and what the page has to allow for it.
fn needs(ept: &Ept, access: &Access) -> Permissions {
    let user = matches!(access.origin, Origin::Linear(page) if page.user);
    let mut needs = Permissions::empty();
    let walks = access.origin == Origin::PagingStructure;
    needs.set(
        Permissions::READ,
        walks || access.kind.contains(AccessKind::READ),
    );
    needs.set(Permissions::WRITE, writes(ept, access));
    if access.kind.contains(AccessKind::FETCH) {
        needs |= match user {
            true => Permissions::EXECUTE_USER,
            false => Permissions::EXECUTE,
        };
    }
    needs
}

fn is_controlled_shadow_stack(ept: &Ept, access: &Access) -> bool {
    access.shadow_stack && ept.eptp().has_shadow_stack_control()
}

fn check_page(
    ept: &Ept,
    capabilities: &Capabilities,
    access: &Access,
    case: &Case,
    page: &Translation,
) {
    let address = case.guest_physical;
    assert_eq!(page.address >> 52, 0, "{page:x?}");
    assert_eq!(page.size.offset(page.address), page.size.offset(address));
    let large = match page.size {
        PageSize::Size4K => EptVpid::empty(),
        PageSize::Size2M => EptVpid::PAGE_2M,
        PageSize::Size1G => EptVpid::PAGE_1G,
    };
    assert!(capabilities.ept_vpid.contains(large));
    let frame = page.address & !(page.size.bytes() - 1);
    assert_eq!(frame & capabilities.processor.beyond_physical(), 0);
    if !is_controlled_shadow_stack(ept, access) {
        assert!(page.permissions.contains(needs(ept, access)), "{page:?}");
    }
    let readable = page.permissions.contains(Permissions::READ);
    assert!(readable || !page.permissions.contains(Permissions::WRITE));
    assert!(page.dirty || !writes(ept, access));
}

/// Its qualification tells of the access, and of a permission that is missing.
fn check_violation(ept: &Ept, access: &Access, case: &Case, violation: &Violation) {
    assert_eq!(violation.guest_physical, case.guest_physical);
    let told = Access::from_qualification(violation.qualification);
    assert!(told.kind.contains(access.kind));
    assert_eq!(told.nmi_unblocking, access.nmi_unblocking);
    assert_eq!(told.shadow_stack, access.shadow_stack);
    let mut allowed = Permissions::from_bits_retain((violation.qualification >> 3 & 7) as u8);
    let execute_user = match ept.mode_based_execute() {
        true => violation.qualification >> 6 & 1 != 0,
        false => allowed.contains(Permissions::EXECUTE),
    };
    allowed.set(Permissions::EXECUTE_USER, execute_user);
    let needs = needs(ept, access);
    // An access that does nothing violates only entries that are not present.
    let refused = !allowed.contains(needs) || allowed.is_empty();
    assert!(
        refused || is_controlled_shadow_stack(ept, access),
        "{violation:x?}"
    );
}

fn check_log(
    case: &Case,
    log: Option<&PageModificationLog>,
    result: &Result<Translation, EptFault>,
) {
    let Some(log) = log else { return };
    let used = case.log_index.wrapping_sub(log.index());
    assert!(used <= 1, "{used} entries");
    assert!(used == 0 || result.is_ok_and(|page| page.dirty));
}

/// Of entries, only flags change; the log's next entry may be the page.
fn check_changes(memory: &HostileMemory, before: &[u64], slot: Option<u64>) {
    if memory.is_hostile() {
        return;
    }
    for ((at, was), is) in (0_u64..).step_by(8).zip(before).zip(memory.words()) {
        let changed = was ^ is;
        let flags = changed & !(1 << 8 | 1 << 9) == 0 && is & changed == changed;
        assert!(flags || slot == Some(at), "{was:#x} became {is:#x}");
    }
}

/// The same access again gives the same, and sets nothing more.
fn check_again(
    ept: &Ept,
    memory: &HostileMemory,
    access: &Access,
    case: &Case,
    result: Result<Translation, EptFault>,
) {
    let before = memory.words();
    let again = ept.translate(memory, case.guest_physical, access, None);
    assert_eq!(again, result);
    assert_eq!(memory.words(), before);
}

fn check_shadow(guest_physical: u64, page: &Translation) {
    let host = HostPage {
        address: 0x40_0000_0000,
        size: PageSize::Size2M,
        permissions: Permissions::READ | Permissions::WRITE,
        memory_type: page.memory_type,
        ignore_pat: false,
    };
    let entry = ShadowEntry::combine(guest_physical, page, &host);
    assert!(page.permissions.contains(entry.permissions));
    assert!(host.permissions.contains(entry.permissions));
    assert!(page.dirty || !entry.permissions.contains(Permissions::WRITE));
    assert_eq!(entry.size, page.size.min(host.size));
    assert!(entry.address - host.address < host.size.bytes());
}
