; ---
; about = "#PF on a page that is not there: the handler maps one, and the same instruction then succeeds"
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
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"#PF error 0x0002 at 0x00201004\\n\"",
;   "out 0x3f8/1 <- \"written\\n\"",
;   "hlt",
; ]
; output = "#PF error 0x0002 at 0x00201004\nwritten\n"
; memory = { "0x301004" = "2a 00 00 00" }
; stop = "halted"
; exit_code = 10
; ---
;
; Memory on demand: a program is promised more than it gets, and a page fault says when it takes it. A
; #PF is a fault: the saved RIP is that of the instruction itself, so that it is run again after the
; handler's `iretq` (SDM 3A 7.5). An entry that was not present is in no TLB, so that nothing has to be
; flushed after it is filled (SDM 3A 5.10.4.3).

%include "include/idt64.inc"
%include "include/serial.inc"

PDE_1   equ     0xb008                  ; of the tables at entry: maps 2 MiB from 0x200000
FRAME   equ     0x301000                ; what is mapped at 0x201000
PRESENT equ     1 << 0
WRITABLE equ    1 << 1

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        mov     dword [0x201004], 42
        PRINT   "written", 10
        hlt

; On entry the error code is on top: [rsp], then RIP and the rest.
on_page_fault:
        PRINT   "#PF error 0x"
        pop     rax                     ; iretq does not expect the error code
        PRINT_HEX 4
        PRINT   " at 0x"
        mov     rax, cr2
        PRINT_HEX 8
        PRINT   10
        mov     qword [page_table + 8], FRAME | WRITABLE | PRESENT   ; entry 1: 0x201000
        mov     eax, page_table
        or      eax, WRITABLE | PRESENT
        mov     [PDE_1], rax
        iretq

        USES_PRINT_HEX

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_PF, on_page_fault
        IDT64_END

        section .bss
        alignb  4096
page_table:
        resb    4096
        resb    512
stack_top:
