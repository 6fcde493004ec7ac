; ---
; about = "256 KiB of RAM in slot 0 and a hlt: as little as a machine can do, for a look at the system calls"
; [machine]
; mode = "real16"
; [machine.memory]
; size = "256K"
; [machine.devices]
; serial = "none"
; i8042 = false
; rtc = false
; [expect]
; exits = ["hlt"]
; output = ""
; stop = "halted"
; exit_code = 10
; ---
;
; The memory set-up that `strace` shows of a minimal QEMU: one anonymous mapping of 256 KiB, handed
; to KVM as slot 0 at guest-physical 0. `strata run --show-ioctls` prints every KVM ioctl and every
; mmap of such a run in strace's notation.

        bits    16
        org     0x7c00                  ; where a real-mode image goes unless told otherwise

        hlt
