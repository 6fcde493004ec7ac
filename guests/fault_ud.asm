; ---
; about = "#UD at vector 6 of the guest's IDT, and the program goes on after it"
; [machine]
; mode = "long64"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"#UD at the ud2\\n\"",
;   "out 0x3f8/1 <- \"back after it\\n\"",
;   "hlt",
; ]
; output = "#UD at the ud2\nback after it\n"
; stop = "halted"
; exit_code = 10
; ---
;
; #UD is a fault: the saved RIP is that of the instruction itself, so that a handler may mend the
; cause and try again. This handler can't mend a ud2; it steps over it.

%include "include/idt64.inc"
%include "include/serial.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
the_ud2:
        ud2
        PRINT   "back after it", 10
        hlt

; On entry: [rsp] RIP, +8 CS, +16 RFLAGS, +24 RSP, +32 SS (SDM 3A 7.14.2). No error code for
; #UD.
on_invalid_opcode:
        cmp     qword [rsp], the_ud2
        jne     .elsewhere
        PRINT   "#UD at the ud2", 10
        add     qword [rsp], 2          ; ud2 is two bytes long
        iretq
.elsewhere:
        PRINT   "#UD, but elsewhere", 10
        hlt

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_UD, on_invalid_opcode
        IDT64_END

        section .bss
        resb    512
stack_top:
