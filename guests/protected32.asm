; ---
; about = "32-bit protected mode without paging: flat 4 GiB segments, #UD through a 32-bit IDT"
; [machine]
; mode = "protected32"
; [machine.memory]
; size = "4M"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"Protected mode, RAM 0x00400000\\n\"",
;   "mmio write 0xf0000000/4 <- 78 56 34 12",
;   "out 0x3f8/1 <- \"#UD at the ud2\\n\"",
;   "hlt",
; ]
; output = "Protected mode, RAM 0x00400000\n#UD at the ud2\n"
; memory = { "0x3ffffc" = "78 56 34 12" }
; stop = "halted"
; exit_code = 10
; ---
;
; The entry state is that of a kernel loaded by a multiboot loader: CR0.PE set, CR0.PG clear, flat
; segments in the hidden registers. The size of RAM comes in edi. A linear address is a physical
; address, up to the last byte of 4 GiB.

%include "include/idt32.inc"
%include "include/serial.inc"

        bits    32
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT32
        LOAD_IDT32

        mov     eax, cr0
        and     eax, 0x80000001         ; PG and PE
        cmp     eax, 1
        jne     wrong_mode
        PRINT   "Protected mode, RAM 0x"
        mov     eax, edi
        PRINT_HEX 8
        PRINT   10

        mov     dword [edi - 4], 0x12345678     ; the last four bytes of RAM
        mov     eax, [edi - 4]
        mov     [0xf0000000], eax       ; no RAM: the segment allows it, the machine takes it as MMIO
the_ud2:
        ud2
after_ud2:
        hlt

wrong_mode:
        PRINT   "CR0 is not that of protected mode", 10
        hlt

; On entry: [esp] EIP, +4 CS, +8 EFLAGS. Without a change of privilege there is no more. The handler
; leaves by a jump: KVM's instruction emulator, which runs this mode on some hosts, has no iret in
; 32-bit protected mode.
on_invalid_opcode:
        cmp     dword [esp], the_ud2
        jne     .elsewhere
        add     esp, 12
        PRINT   "#UD at the ud2", 10
        jmp     after_ud2
.elsewhere:
        PRINT   "#UD, but elsewhere", 10
        hlt

        USES_PRINT_HEX

        GDT32
        IDT32_BEGIN
        VECTOR  VECTOR_UD, on_invalid_opcode
        IDT32_END

        section .bss
        resb    512
stack_top:
