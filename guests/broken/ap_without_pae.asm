; ---
; about = "the second processor switches paging on for long mode, and has not set CR4.PAE"
; [machine]
; mode = "long64"
; load_at = 0x10000
; cpus = 2
; irqchip = "kernel"
; [machine.budget]
; wall = "10s"
; [expect]
; exits = ["vcpu1: shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "the guest died of a triple fault on vCPU 1",
; ]
; ---
;
; The mistake: the first processor was entered with CR4.PAE set. Those that it starts come from reset, and
; their CR4 is 0; that the first one's was set for it is easily forgotten.
;
; What the processor does: the tables of long mode are those of physical-address extension, so switching
; paging on with EFER.LME set and CR4.PAE clear is #GP (SDM 3A 11.8.5). The IDT of this processor is
; empty: triple fault, which ends the machine, whatever the first processor does.
;
; It can't be said of all hosts what this one did: SVM's reset the registers of a processor that has shut
; down, and two processors can't be replayed, since nobody knows in which order they ran.

%include "include/gdt64.inc"
%include "include/image.inc"
%include "include/lapic.inc"

ICR_INIT equ    0b101 << 8              ; delivery modes (SDM 3A 12.6.1)
ICR_SIPI equ    0b110 << 8
ICR_ASSERT equ  1 << 14
ICR_ALL_BUT_SELF equ 0b11 << 18

CODE32  equ     0x18
CR0_PE  equ     1 << 0
CR0_PG  equ     1 << 31
IA32_EFER equ   0xc0000080
EFER_LME equ    1 << 8

        bits    64
        IMAGE_AT 0x10000                ; below 1 MiB: real mode reaches no higher

        LAPIC_ENABLE
        LAPIC_WRITE LAPIC_ICR_LOW, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT
        LAPIC_WRITE LAPIC_ICR_LOW, ICR_ALL_BUT_SELF | ICR_SIPI | (ADDRESS(ap_start) >> 12)
.wait:  pause                           ; for the other one, which will never say so
        jmp     .wait

        align   8
gdt:    dq      0
        dq      DESCRIPTOR_CODE64
        dq      DESCRIPTOR_DATA64
        dq      0x00cf9b000000ffff      ; present, ring 0, execute/read, D and not L: 32-bit
gdt_end:
gdt_pointer:
        dw      gdt_end - gdt - 1
        dd      gdt
no_idt: dw      0
        dd      0

; ---- the second processor: cs = this page / 16, ip = 0 ----
        AT      0x11000
        bits    16
ap_start:
        mov     ax, ADDRESS(image_start) >> 4
        mov     ds, ax
        o32 lidt [no_idt - image_start]
        o32 lgdt [gdt_pointer - image_start]
        mov     eax, cr0
        or      eax, CR0_PE
        mov     cr0, eax
        jmp     dword CODE32:.protected
        bits    32
.protected:
        mov     eax, 0x9000             ; the tables of the first processor
        mov     cr3, eax
        mov     ecx, IA32_EFER
        mov     eax, EFER_LME
        xor     edx, edx
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG
        AT      0x11080
        mov     cr0, eax
