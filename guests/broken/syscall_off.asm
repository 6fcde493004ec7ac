; ---
; about = "a system call that nobody has switched on"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#UD at 0x100010: EFER.SCE is clear",
;   "syscall",
; ]
; ---
;
; The mistake: LSTAR and STAR may be set or not, but bit 0 of EFER is not.
;
; What the processor does: `syscall` is #UD while EFER.SCE is clear (SDM 2B "SYSCALL"). There is no IDT.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        AT      0x100010
        syscall
