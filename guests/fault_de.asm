; ---
; about = "#DE at vector 0: the handler mends the divisor, the same instruction then succeeds"
; [machine]
; mode = "long64"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"#DE at the div\\n\"",
;   "out 0x3f8/1 <- \"quotient 0x2a\\n\"",
;   "hlt",
; ]
; output = "#DE at the div\nquotient 0x2a\n"
; stop = "halted"
; exit_code = 10
; ---
;
; A fault can be restarted: the saved RIP points at the `div`, no register has changed, and once the
; handler has put a divisor other than zero in place, returning runs the same `div` again.

%include "include/idt64.inc"
%include "include/serial.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64
        mov     eax, 84
        xor     edx, edx
        xor     ebx, ebx                ; the divisor: zero
the_div:
        div     ebx
        mov     r8d, eax
        PRINT   "quotient 0x"
        mov     eax, r8d
        PRINT_HEX 2
        PRINT   10
        hlt

on_divide_error:
        cmp     qword [rsp], the_div
        jne     .elsewhere
        mov     r9, rdx                 ; printing uses rdx, and the div still needs it
        PRINT   "#DE at the div", 10
        mov     rdx, r9
        mov     ebx, 2
        iretq
.elsewhere:
        PRINT   "#DE, but elsewhere", 10
        hlt

        USES_PRINT_HEX

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_DE, on_divide_error
        IDT64_END

        section .bss
        resb    512
stack_top:
