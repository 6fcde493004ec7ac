; ---
; about = "a recursion without end runs its stack into a guard page"
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
; virt = 0x201000
; phys = 0x201000
; size = "4K"
; page = "4K"
; access = "rw"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF at 0x100080 writing 0x200ff8: the PTE at 0xc000 is not present (P=0)",
;   "pushing the frame of #PF on the stack at 0x201000 failed: the PTE at 0xc000 is not present (P=0)",
;   "the stack holds 512 times the return address 0x100085",
;   "a recursion that does not end",
; ]
; ---
;
; The mistake: a function that calls itself forever. Below its stack of one page lies a page that is
; mapped to nothing, a guard page, so that an overflow hits no data.
;
; What the processor does: 512 calls fit. The next one can't push its return address: #PF. The handler
; would need the very same stack: pushing its frame is #PF again, double fault, and once more, triple
; fault. guests/double_fault_stack.asm survives this, by a stack of its own for #DF.

%include "include/idt64.inc"

STACK   equ     0x201000                ; one page; the one below it is not mapped

        bits    64
        IMAGE_AT 0x100000

        mov     esp, STACK + 0x1000
        LOAD_GDT64
        LOAD_IDT64
        AT      0x100080
recurse:
        call    recurse

on_exception:
        hlt                             ; never comes here

        GDT64
        AT      0x101000
        IDT64_BEGIN
        VECTOR  VECTOR_DF, on_exception
        VECTOR  VECTOR_PF, on_exception
        IDT64_END
