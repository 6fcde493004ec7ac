; ---
; about = "an exception without a usable IDT: triple fault, seen as a shutdown"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = ["#UD at 0x100008", "IDT entry 6 lies beyond the IDT's limit 0x0"]
; ---
;
; The #UD finds no gate for vector 6, that is a second exception, whose handler at vector 8 (double
; fault) has no gate either. The CPU gives up: it enters shutdown (SDM 3A 7.15, interrupt 8),
; and a real board would reset it.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        lidt    [no_idt]
        ud2

no_idt: dw      0                       ; limit 0: not one whole entry
        dq      0
