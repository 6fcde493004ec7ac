; ---
; about = "#GP twice: for a bad selector, which is the error code, and for a non-canonical address"
; [machine]
; mode = "long64"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"#GP error 0x0048\\n\"",
;   "out 0x3f8/1 <- \"#GP error 0x0000\\n\"",
;   "out 0x3f8/1 <- \"two faults\\n\"",
;   "hlt",
; ]
; output = "#GP error 0x0048\n#GP error 0x0000\ntwo faults\n"
; stop = "halted"
; exit_code = 10
; ---
;
; #GP is one of the exceptions that push an error code: the selector that was refused (SDM 3A
; 7.13), or zero when no descriptor is to blame. In 64-bit mode an address is canonical when bits
; 63:47 are all equal; one that isn't never reaches the page tables.

%include "include/idt64.inc"
%include "include/serial.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     esp, stack_top
        LOAD_GDT64
        LOAD_IDT64

        mov     ebx, .after_selector    ; where the handler is to go on
        mov     eax, 0x48               ; far beyond the end of our GDT
        mov     ds, eax
.after_selector:

        mov     ebx, .after_address
        mov     rax, 0x0000800000000000 ; the lowest address that is not canonical
        mov     al, [rax]
.after_address:

        PRINT   "two faults", 10
        hlt

; On entry the error code is on top: [rsp], then RIP and the rest.
on_general_protection:
        PRINT   "#GP error 0x"
        pop     rax                     ; iretq does not expect the error code
        PRINT_HEX 4
        PRINT   10
        mov     [rsp], rbx
        iretq

        USES_PRINT_HEX

        GDT64
        IDT64_BEGIN
        VECTOR  VECTOR_GP, on_general_protection
        IDT64_END

        section .bss
        resb    512
stack_top:
