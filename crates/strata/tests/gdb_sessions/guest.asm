; A guest with symbols for a debugger: counts to five in a function, reads and writes a variable, uses an SSE register, and
; ends by the debug-exit port with the count. With `done` as a breakpoint's address, RCX is to be changed first.

        bits    64
        global  _start, again, count, done, counter

        section .text
_start:
        mov     rsp, stack_top
        xor     ecx, ecx
again:
        call    count
        cmp     ecx, 5
        jb      again
done:
        mov     eax, ecx
        out     0xf4, al
        hlt

count:
        inc     ecx
        mov     [rel counter], rcx
        ret

        section .data
counter:
        dq      0

        section .bss
        resb    4096
stack_top:
