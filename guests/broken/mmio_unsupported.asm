; ---
; about = "an instruction on a device that KVM cannot emulate"
; [machine]
; mode = "long64"
; [expect]
; exits = ["internal error 1"]
; output = ""
; stop = { kind = "internal-error", suberror = 1 }
; exit_code = 22
; explain = [
;   "reading 0xd0000000, which is neither RAM nor a device",
;   "the instruction is at 0x100010",
;   "popcnt eax,[rdi]",
;   "f3 0f b8 07",
; ]
; ---
;
; The mistake: an operand in memory that is a device's register. The compiler may choose any instruction
; for a read, unless it is told that this one is not plain memory (`volatile`).
;
; What happens: a read of a device leaves the guest, and the host has to do what the instruction would
; have done. Of most processors it only learns the address, so KVM decodes and emulates the instruction,
; and it knows only a part of all instructions. `popcnt` is not among them: KVM gives up with an internal
; error, suberror 1 (Linux, Documentation/virt/kvm/api.rst, KVM_EXIT_INTERNAL_ERROR).

%include "include/image.inc"

DEVICE  equ     0xd0000000              ; neither RAM nor a device

        bits    64
        IMAGE_AT 0x100000

        mov     edi, DEVICE
        AT      0x100010
        popcnt  eax, [rdi]
