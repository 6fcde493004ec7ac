; ---
; about = "a page fault handler that leaves the error code on the stack returns to nowhere"
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
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x1000c0: selector 0x80 lies beyond the GDT's limit 0x17",
;   "IDT entry 13 at 0x1010d0 is not present (P=0)",
;   "iretq",
; ]
; ---
;
; The mistake: #PF pushes an error code on top of the frame (SDM 3A 7.13). `iretq` does not expect it: it
; is for the handler to take it away.
;
; What the processor does: `iretq` takes the error code for RIP, RIP for CS, CS for RFLAGS. RIP is
; 0x100080 where the page fault was, so that CS becomes 0x0080: beyond the GDT's limit, #GP with that
; selector as error code, at the `iretq`. There is no gate for #GP.

%include "include/idt64.inc"

ABSENT  equ     0x200000

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        AT      0x100080
        mov     al, [ABSENT]

        AT      0x1000c0
on_page_fault:
        iretq                           ; `add rsp, 8` is missing before it

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_PF, on_page_fault
        IDT64_END

        section .bss
        resb    512
stack_top:
