; ---
; about = "CR3 is loaded with an address where no memory is"
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
; The mistake: the new page tables lie where the machine has no RAM: it has 4 MiB, CR3 says 8 MiB.
;
; What the processor does: `mov cr3` checks no more than the register's reserved bits. The next
; instruction can't be fetched, and no exception can be delivered, since the IDT can't be found either:
; the manuals don't say what is read where no memory is. KVM ends the guest; how differs from host to
; host.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     eax, 0x800000           ; beyond the end of RAM
        AT      0x100010
        mov     cr3, rax
        nop
