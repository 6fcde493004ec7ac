; ---
; about = "a page without execute permission can be written; a call into it is #PF, error code 0x11"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [machine.paging]
; tables_at = 0x9000
; [[machine.paging.map]]
; virt = 0x0
; phys = 0x0
; size = "2M"
; page = "2M"
; access = "rwx"
; [[machine.paging.map]]
; virt = 0x200000
; phys = 0x200000
; size = "4K"
; page = "4K"
; access = "rw"
; [[machine.paging.map]]
; virt = 0x201000
; phys = 0x200000
; size = "4K"
; page = "4K"
; access = "rx"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"executed at 0x201000\\n\"",
;   "out 0x3f8/1 <- \"#PF error 0x0011 at 0x00200000\\n\"",
;   "hlt",
; ]
; output = "executed at 0x201000\n#PF error 0x0011 at 0x00200000\n"
; memory = { "0x200000" = "c3" }
; stop = "halted"
; exit_code = 10
; ---
;
; Bit 63 of a page table entry forbids fetching instructions, once EFER.NXE is set (SDM 3A
; 5.6.2). Here one physical page is seen twice: writable and not executable at 0x200000, executable
; and not writable at 0x201000. That is how W^X systems make code at run time.

%include "include/idt64.inc"
%include "include/serial.inc"

WRITABLE equ    0x200000
EXECUTABLE equ  0x201000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64

        mov     byte [WRITABLE], 0xc3   ; a whole function: ret
        mov     eax, EXECUTABLE
        call    rax
        PRINT   "executed at 0x201000", 10

        mov     eax, WRITABLE
        call    rax                     ; the call itself succeeds; fetching its target does not
        PRINT   "executed without permission", 10
        hlt

on_page_fault:
        PRINT   "#PF error 0x"
        pop     rax                     ; bit 0: the page is there; bit 4: it was an instruction fetch
        PRINT_HEX 4
        PRINT   " at 0x"
        mov     rax, cr2
        PRINT_HEX 8
        PRINT   10
        hlt

        USES_PRINT_HEX

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_PF, on_page_fault
        IDT64_END

        section .bss
        resb    512
stack_top:
