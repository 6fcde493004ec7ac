; ---
; about = "the default guest: greets, and tells which mode, page size and memory it found"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "16M"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"Hello from Strata!\\n\"",
;   "out 0x3f8/1 <- \"mode:   64-bit long mode\\n\"",
;   "out 0x3f8/1 <- \"pages:  2 MiB\\n\"",
;   "out 0x3f8/1 <- \"memory: 16 MiB\\n\"",
;   "hlt",
; ]
; output = "Hello from Strata!\nmode:   64-bit long mode\npages:  2 MiB\nmemory: 16 MiB\n"
; memory = { "0xfffff8" = "53 74 72 61 74 61 21 0a" }
; stop = "halted"
; exit_code = 10
; ---
;
; What a flat 64-bit image finds when it is entered: long mode with paging on, page tables and a GDT
; somewhere in low memory, interrupts off, and the size of RAM in rdi. Nothing is taken on trust
; here: each line that is printed was read from a register or a table, or tried.

%include "include/image.inc"
%include "include/serial.inc"

CR0_PE  equ     1 << 0                  ; protection
CR0_PG  equ     1 << 31                 ; paging
IA32_EFER equ   0xc0000080
EFER_LMA equ    1 << 10                 ; long mode active
DESCRIPTOR_L equ 53                     ; a code segment's "64-bit" bit
PRESENT equ     1 << 0                  ; in an entry of a page table
LARGE   equ     1 << 7                  ; the entry maps a page; it leads to no further table
TABLE   equ     0x000ffffffffff000      ; the physical address in an entry
MMIO_GAP equ    0xc0000000              ; RAM has a hole from here to 4 GiB

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        mov     r12, rdi                ; the size of RAM in bytes: the host's word for it
        PRINT   "Hello from Strata!", 10

; ---- mode: SDM 3A 2.2 ----
        PRINT   "mode:   "
        mov     rax, cr0
        and     eax, CR0_PE | CR0_PG
        cmp     eax, CR0_PE | CR0_PG
        jne     .not_long
        mov     ecx, IA32_EFER
        rdmsr
        test    eax, EFER_LMA
        jz      .not_long
        sgdt    [gdt_register]          ; 64-bit or compatibility code? Its descriptor's L bit says
        mov     rbx, [gdt_register.base]
        mov     eax, cs
        and     eax, ~7                 ; without table and privilege level: the offset in the GDT
        bt      qword [rbx + rax], DESCRIPTOR_L
        jnc     .compatibility
        PRINT   "64-bit long mode", 10
        jmp     .pages
.compatibility:
        PRINT   "long mode, compatibility code", 10
        jmp     .pages
.not_long:
        PRINT   "not long mode", 10     ; and yet these are 64-bit instructions: never seen

; ---- page size: the walk that the CPU makes to find the page with this code (SDM 3A 5.5) ----
; The tables hold physical addresses. Using them as they are works because this memory is mapped one
; to one.
.pages: PRINT   "pages:  "
        mov     rsi, TABLE
        mov     rbx, cr3                ; where the first table lies
        mov     ecx, 39                 ; index: bits 47:39 of the address, in each table 9 bits lower
.level: and     rbx, rsi
        mov     eax, .level             ; the address that is looked up
        shr     rax, cl
        and     eax, 511
        mov     rbx, [rbx + 8 * rax]
        test    bl, PRESENT
        jz      .unmapped
        cmp     ecx, 12                 ; in the last table every entry maps a page
        je      .page
        test    bl, LARGE
        jnz     .page
        sub     ecx, 9
        jmp     .level
.unmapped:
        PRINT   "none", 10              ; never seen: this code could not run
        jmp     .memory
.page:  mov     eax, 1                  ; what is left of the address is the offset in the page
        shl     rax, cl
        call    print_size

; ---- memory: the last eight bytes keep what is written to them ----
.memory:
        PRINT   "memory: "
        mov     eax, MMIO_GAP
        cmp     r12, rax
        ja      .size                   ; RAM goes on above 4 GiB, which is not mapped
        mov     rax, `Strata!\n`
        mov     [r12 - 8], rax
        cmp     rax, [r12 - 8]
        je      .size
        PRINT   "less than "
.size:  mov     rax, r12
        call    print_size

        hlt                             ; with interrupts off nothing can wake us: the machine stops

; print_size: rax bytes, in the largest unit that leaves no fraction.
print_size:
        mov     esi, units
.unit:  test    eax, 1023
        jnz     .print
        shr     rax, 10
        add     esi, 4
        cmp     esi, units.last
        jb      .unit
.print: push    rsi
        PRINT_DECIMAL
        pop     rsi
        mov     ecx, 4
        mov     edx, COM1
        rep     outsb
        PRINT   10
        ret

        USES_PRINT_DECIMAL

units:  db      " B  ", " KiB", " MiB"
.last:  db      " GiB"

        align   8
        dw      0, 0, 0                 ; so that the base is aligned
gdt_register:
        dw      0                       ; limit
.base:  dq      0

        section .bss
        resb    512
stack_top:
