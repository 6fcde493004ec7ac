; ---
; about = "a write to a read-only page, with gates that nobody has filled"
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
; access = "r"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF at 0x100020 writing 0x200000: the PTE at 0xc000 is present but read-only (W=0), and CR0.WP is set",
;   "IDT entry 14 at 0x1010e0 is not present (P=0)",
;   "IDT entry 8 at 0x101080 is not present (P=0)",
; ]
; ---
;
; The mistake: constant data is written to. The second: the IDT is loaded before it is filled, all of
; its gates are zero.
;
; What the processor does: ring 0 obeys read-only pages while CR0.WP is set, so the write is #PF (SDM
; 3A 5.6.1). Gate 14 is all zero, which is no gate: #GP, and a #GP while a #PF is delivered is a double
; fault (SDM 3A table 7-5). Gate 8 is no gate either: triple fault. See guests/long_ro_fault.asm for the
; same write, survived.

%include "include/image.inc"

CONSTANT equ    0x200000

        bits    64
        IMAGE_AT 0x100000

        lidt    [idt_pointer]
        AT      0x100020
        mov     dword [CONSTANT], 1

idt_pointer:
        dw      256 * 16 - 1
        dq      idt

        AT      0x101000
idt:    times   256 * 16 db 0
