use std::alloc::{Layout, alloc_zeroed, dealloc};

use kvm_bindings::{KVM_EXIT_IO_IN, KVM_EXIT_X86_RDMSR};

use super::*;

/// A member of the exit union, to be filled.
macro_rules! member {
    ($run:ident.$($field:ident).+) => {
        // SAFETY: every member is plain data, for which the zeroes of a new page are valid.
        unsafe { &mut $run.__bindgen_anon_1.$($field).+ }
    };
}

/// A `kvm_run` as the kernel would leave it: filled by `fill`, shown to `check`.
fn with_page(fill: impl FnOnce(&mut kvm_run), check: impl FnOnce(&mut RunPage)) {
    const LEN: usize = 0x3000;
    let layout = Layout::from_size_align(LEN, 0x1000).unwrap();
    #[allow(clippy::cast_ptr_alignment, reason = "the layout asks for the alignment of a page")]
    // SAFETY: the layout is not empty; zeroes are a valid `kvm_run`; freed below.
    unsafe {
        let page = NonNull::new(alloc_zeroed(layout).cast::<kvm_run>()).unwrap();
        fill(&mut *page.as_ptr());
        check(&mut RunPage::new(page, LEN));
        dealloc(page.as_ptr().cast(), layout);
    }
}

#[test]
fn a_string_read_keeps_its_width_and_takes_its_answers() {
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_IO;
            let io = member!(run.io);
            (io.direction, io.size, io.port, io.count, io.data_offset) =
                (u8::try_from(KVM_EXIT_IO_IN).unwrap(), 2, 0x1f0, 3, 0x2000);
        },
        |page| {
            let Exit::PioRead { port: 0x1f0, width: 2, data } = page.exit().0 else { panic!("not a read") };
            assert_eq!(data.len(), 6);
            data.copy_from_slice(b"answer");
            assert_eq!(page.exit().0.to_string(), "in 0x1f0/2 x3 -> 61 6e 73 77 65 72");
        },
    );
}

#[test]
fn data_outside_the_mapping_is_not_touched() {
    for (count, data_offset) in [(1, 0x3000), (u32::MAX, 0x1000), (1, 0), (1, u64::MAX)] {
        with_page(
            |run| {
                run.exit_reason = KVM_EXIT_IO;
                let io = member!(run.io);
                (io.size, io.count, io.data_offset) = (4, count, data_offset);
            },
            |page| assert!(matches!(page.exit().0, Exit::Unknown { reason: KVM_EXIT_IO })),
        );
    }
}

#[test]
fn mmio_is_cut_to_the_eight_bytes_there_are() {
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_MMIO;
            let mmio = member!(run.mmio);
            (mmio.phys_addr, mmio.len, mmio.is_write, mmio.data) = (0x8000, 4, 1, *b"\x12\x34\x56\x78....");
        },
        |page| assert_eq!(page.exit().0.to_string(), "mmio write 0x8000/4 <- 12 34 56 78"),
    );
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_MMIO;
            member!(run.mmio).len = 200;
        },
        |page| assert!(matches!(page.exit().0, Exit::MmioRead { data, .. } if data.len() == 8)),
    );
}

#[test]
fn an_internal_error_keeps_its_payload() {
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
            let internal = member!(run.internal);
            (internal.suberror, internal.ndata) = (1, 2);
            internal.data[..2].copy_from_slice(&[7, 8]);
        },
        |page| assert!(matches!(page.exit().0, Exit::InternalError { suberror: 1, data: &[7, 8] })),
    );
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
            member!(run.internal).ndata = 1000;
        },
        |page| assert!(matches!(page.exit().0, Exit::InternalError { data, .. } if data.len() == 16)),
    );
}

#[test]
fn a_debug_event_names_where() {
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_DEBUG;
            let arch = member!(run.debug.arch);
            (arch.exception, arch.pc, arch.dr6, arch.dr7) = (1, 0x1005, 0xffff_4ff0, 0x400);
        },
        |page| {
            let Exit::Debug(event) = page.exit().0 else { panic!("not a debug exit") };
            assert_eq!(event, DebugEvent { rip: 0x1005, exception: 1, dr6: 0xffff_4ff0, dr7: 0x400 });
        },
    );
}

#[test]
fn other_reasons_keep_their_number_and_memory_faults_their_place() {
    with_page(
        |run| run.exit_reason = KVM_EXIT_X86_RDMSR,
        |page| {
            assert!(matches!(page.exit().0, Exit::Unknown { reason: KVM_EXIT_X86_RDMSR }));
            assert!(!page.is_memory_fault());
        },
    );
    with_page(
        |run| {
            run.exit_reason = KVM_EXIT_MEMORY_FAULT;
            let fault = member!(run.memory_fault);
            (fault.gpa, fault.size) = (0x5000, 0x1000);
        },
        |page| {
            assert!(page.is_memory_fault());
            assert!(matches!(page.exit().0, Exit::MemoryFault { gpa: 0x5000, size: 0x1000, .. }));
        },
    );
    with_page(
        |run| run.exit_reason = KVM_EXIT_SYSTEM_EVENT,
        |page| assert!(matches!(page.exit().0, Exit::SystemEvent { kind: 0, data: &[] })),
    );
}
