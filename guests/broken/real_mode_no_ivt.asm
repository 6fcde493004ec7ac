; ---
; about = "real mode: a vector table whose limit covers no vector"
; needs = ["delivery-checks"]
; [machine]
; mode = "real16"
; [machine.memory]
; size = "64K"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "IDT entry 6 lies beyond the IDT's limit 0x0",
;   "#UD at 0x7c10",
; ]
; ---
;
; The mistake: `lidt` with what protected mode is to have, an empty table, while still in real mode.
;
; What the processor does: IDTR counts in real mode, too. A vector beyond its limit is #GP, which is
; another vector beyond it, and #DF is a third: triple fault (SDM 3A 22.1.4).

%include "include/image.inc"

        bits    16
        IMAGE_AT 0x7c00

        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7000
        lidt    [no_idt]
        AT      0x7c10
        ud2

no_idt: dw      0
        dd      0
