; ---
; about = "a jump to an address whose PML4 entry points to where no memory is"
; [machine]
; mode = "long64"
; [machine.memory]
; size = "4M"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "there is no RAM at 0x800000",
; ]
; ---
;
; The mistake: the PDPT lies where the machine has no RAM: it has 4 MiB, the PML4 entry says 8 MiB.
;
; What the processor does: the manuals don't say what is read where no memory is; on a PC it is often
; all ones, a present entry. KVM has no entry to give and ends the guest, in a way that differs from
; host to host.

%include "include/image.inc"

PML4    equ     0x9000                  ; of the tables at entry
PDPT    equ     0x800000                ; beyond the end of RAM
PRESENT_WRITABLE equ 3

        bits    64
        IMAGE_AT 0x100000

        mov     qword [PML4 + 1 * 8], PDPT | PRESENT_WRITABLE
        mov     rax, 1 << 39            ; PML4 entry 1
        jmp     rax
