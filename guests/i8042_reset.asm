; ---
; about = "the keyboard controller pulses the reset line: the machine stops as reset by the guest"
; [machine]
; mode = "long64"
; [expect]
; exits = ["in 0x64/1 -> 14", "out 0x64/1 <- fe"]
; output = ""
; stop = "reset"
; exit_code = 12
; ---
;
; The PC's oldest way to reboot, and still the first or second that kernels try: command 0xfe to the
; 8042 pulses its output line 0, which is wired to the CPU's reset pin. Before a command the
; controller has to have room for it.

I8042_STATUS equ 0x64                   ; read: status; write: command
INPUT_FULL equ  1 << 1                  ; it has not yet taken the last byte
PULSE_RESET equ 0xfe

        bits    64
        org     0x100000

.wait:  in      al, I8042_STATUS
        test    al, INPUT_FULL
        jnz     .wait
        mov     al, PULSE_RESET
        out     I8042_STATUS, al
        hlt                             ; not reached
