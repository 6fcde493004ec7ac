; ---
; about = "a write to the power-off register switches the machine off"
; [machine]
; mode = "long64"
; [machine.devices]
; power_off = 0x604
; [expect]
; exits = ["out 0x604/2 <- 00 20"]
; output = ""
; stop = "power-off"
; exit_code = 0
; ---
;
; ACPI's PM1a control register, where QEMU has it: SLP_EN (bit 13) enters the sleep state in SLP_TYP
; (bits 12:10), here 0, which this machine takes as "soft off". A real operating system learns port
; and value from the ACPI tables.

PM1A_CONTROL equ 0x604
SLP_EN  equ     1 << 13

        bits    64
        org     0x100000

        mov     edx, PM1A_CONTROL
        mov     eax, SLP_EN
        out     dx, ax
        hlt                             ; not reached
