# From the first instruction to Rust: PVH's entry, long mode, the descriptor tables (see `start.rs`).
#
# What can be computed before the run is: the page tables and the GDT are data. Under KVM without hardware
# virtualisation an instruction here takes a microsecond.

.set HUGE, 0x83                 # a page of 2 MiB: present, writable (SDM vol. 3A 5.5, table 5-18)
.set TABLE, 0x03                # a table, or a page of 4 KiB
.set CODE64, 0x08
.set DATA, 0x10
.set TSS, 0x18

# The note that makes this a PVH kernel: XEN_ELFNOTE_PHYS32_ENTRY (Xen, docs/misc/pvh.pandoc).
.section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 4
    .long 18
    .asciz "Xen"
    .long _start

.section .text.strata_start, "ax", @progbits
.code32
.global _start
# Protected mode, paging off, interrupts off; EBX leads to the start info.
_start:
    cld
    mov esp, offset strata_stack_top

    mov eax, cr4
    or eax, 0x620               # PAE, and OSFXSR and OSXMMEXCPT: SSE may be used
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080         # EFER
    rdmsr
    or eax, 0x900               # LME, NXE
    wrmsr

    # The page below the stack is not there: running out of stack is then an exception.
    mov eax, offset strata_stack
    sub eax, 0x1000
    shr eax, 12
    cmp eax, 2048               # above the pages of 4 KiB it stays
    jae 1f
    mov dword ptr [page_tables + eax * 8], 0
1:
    mov eax, cr0
    and eax, 0xfffffffb         # EM
    or eax, 0x80010003          # PG, WP, MP, PE
    mov cr0, eax

    # The TSS' address is spread over its descriptor (SDM vol. 3A 9.2.3); it lies below 4 GiB.
    mov eax, offset tss
    mov word ptr [gdt + TSS + 2], ax
    shr eax, 16
    mov byte ptr [gdt + TSS + 4], al
    mov byte ptr [gdt + TSS + 7], ah
    lgdt [gdt_register]
    mov eax, offset long_mode
    push CODE64
    push eax
    retf

.code64
long_mode:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov eax, TSS
    ltr ax

    # Gates for the 32 exceptions (SDM vol. 3A 7.14.1). Those of interrupts are made when there is a handler.
    mov eax, offset strata_interrupt_stubs
    mov edi, offset strata_idt
    mov ecx, 32
2:
    mov word ptr [rdi], ax
    mov dword ptr [rdi + 2], 0x8e000008 # CODE64, no IST, an interrupt gate, present
    mov edx, eax
    shr edx, 16
    mov word ptr [rdi + 6], dx
    add eax, 16
    add edi, 16
    dec ecx
    jnz 2b
    # A double fault has a stack of its own: the other one may be what is wrong.
    mov byte ptr [strata_idt + 8 * 16 + 4], 1
    lidt [idt_register]

    mov edi, ebx
    xor ebp, ebp
    call strata_start
    ud2

# Where interrupts arrive: 256 stubs of 16 bytes. Each leaves an error code and the vector on the stack.
.section .text.strata_interrupts, "ax", @progbits
.balign 16
.global strata_interrupt_stubs
strata_interrupt_stubs:
.set vector, 0
.rept 256
    .balign 16
    # These exceptions come with an error code (SDM vol. 3A 7.15).
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push 0
    .endif
    push vector
    jmp interrupted
    .set vector, vector + 1
.endr

interrupted:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    # `Frame`. The processor aligned the stack by 16 and 22 words are on it: it still is.
    mov rdi, rsp
    call strata_interrupt
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

# The first 4 GiB, each byte at its own address. The first 8 MiB by pages of 4 KiB, so that single ones can be taken
# out: the one below the stack, and by `machine.rs` the first, for null pointers.
.section .data.strata_tables, "aw", @progbits
.balign 4096
pml4:
    .quad pdpt + TABLE
    .skip 4096 - 8
pdpt:
    .quad page_directories + TABLE
    .quad page_directories + 0x1000 + TABLE
    .quad page_directories + 0x2000 + TABLE
    .quad page_directories + 0x3000 + TABLE
    .skip 4096 - 32
page_directories:
    .quad page_tables + TABLE
    .quad page_tables + 0x1000 + TABLE
    .quad page_tables + 0x2000 + TABLE
    .quad page_tables + 0x3000 + TABLE
.set page, 4
.rept 2044
    .quad page * 0x200000 + HUGE
    .set page, page + 1
.endr
.global strata_page_tables
strata_page_tables:
page_tables:
.set page, 0
.rept 2048
    .quad page * 0x1000 + TABLE
    .set page, page + 1
.endr

.section .data.strata_descriptors, "aw", @progbits
.balign 16
# SDM vol. 3A 3.4.5: flat, and 64-bit for code.
gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x0000890000000067    # the TSS: its address is filled in
    .quad 0
gdt_register:
    .word gdt_register - gdt - 1
    .quad gdt
.balign 16
idt_register:
    .word 4095
    .quad strata_idt
.balign 16
# SDM vol. 3A 9.7.
tss:
    .skip 36
    .quad double_fault_stack_top
    .skip 104 - 36 - 8

# Where the records of `tests!` lie; both 0 if there are none.
.weak __start_strata_tests
.weak __stop_strata_tests
.global strata_tests_bounds
.balign 8
strata_tests_bounds:
    .quad __start_strata_tests
    .quad __stop_strata_tests

.section .bss.strata_stack, "aw", @nobits
.balign 4096
    .skip 4096
.global strata_stack
strata_stack:
    .skip 0x40000
.global strata_stack_top
strata_stack_top:
    .skip 0x4000
double_fault_stack_top:
.balign 4096
.global strata_idt
strata_idt:
    .skip 4096
.section .text
