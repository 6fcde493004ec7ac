; The kernel of docs/inspection.md. It loads page tables of its own, greets, asks whether the CMOS clock has power, and clears a
; table of 512 entries. Or so it means to: it clears 513, and behind the table lies what is read-only. There is no IDT yet.
;
; Functions keep frame pointers, so that a profile knows who called whom.

COM1    equ     0x3f8
LSR     equ     COM1 + 5                ; line status
THRE    equ     0x20                    ; it takes another byte
CMOS    equ     0x70
ENTRIES equ     512
HIGH    equ     0xffff800000000000      ; where the kernel has all of its memory once more

PRESENT equ     1
WRITE   equ     2
LARGE   equ     0x80
NX      equ     1 << 63

%macro  ENTER_FUNCTION 0
        push    rbp
        mov     rbp, rsp
%endmacro

%macro  LEAVE_FUNCTION 0
        pop     rbp
        ret
%endmacro

        bits    64
        section .text
        global  _start, kmain, puts, putc, clock, cmos, clear

_start: mov     eax, pml4
        mov     cr3, rax
        mov     esp, stack_top
        xor     ebp, ebp                ; here the chain of frames ends
        call    kmain
        hlt

kmain:  ENTER_FUNCTION
        mov     esi, hello
        call    puts
        call    clock
        call    clear
        LEAVE_FUNCTION

puts:   ENTER_FUNCTION                  ; the text at rsi, which ends with a zero
.next:  lodsb
        test    al, al
        jz      .done
        call    putc
        jmp     .next
.done:  LEAVE_FUNCTION

putc:   ENTER_FUNCTION                  ; al, as soon as the port takes it
        mov     ah, al
        mov     edx, LSR
.wait:  in      al, dx
        test    al, THRE
        jz      .wait
        mov     edx, COM1
        mov     al, ah
        out     dx, al
        LEAVE_FUNCTION

clock:  ENTER_FUNCTION                  ; whether the clock has power, to eax
        mov     al, 0x0d                ; register D
        call    cmos
        LEAVE_FUNCTION

cmos:   ENTER_FUNCTION                  ; the register al, to eax
        out     CMOS, al
        in      al, CMOS + 1
        movzx   eax, al
        LEAVE_FUNCTION

clear:  ENTER_FUNCTION
        mov     rdi, HIGH + table
        xor     ecx, ecx
.next:  mov     qword [rdi + 8 * rcx], 0
        inc     ecx
        cmp     ecx, ENTRIES
        jbe     .next                   ; jb
        LEAVE_FUNCTION

        section .data align=4096
table:  times   ENTRIES dq 0
hello:  db      "up", 10, 0             ; read-only
        align   4096, db 0
        times   4096 db 0
stack_top:

; From 0 to 2 MiB in one page, for the code; from there on page by page.
pml4:   dq      pdpt + PRESENT + WRITE
        times   255 dq 0
        dq      pdpt + PRESENT + WRITE  ; HIGH
        times   255 dq 0
pdpt:   dq      pd + PRESENT + WRITE
        times   511 dq 0
pd:     dq      0 + PRESENT + WRITE + LARGE
        dq      pt + PRESENT + WRITE
        times   510 dq 0
pt:     dq      table + PRESENT + WRITE + NX
        dq      hello + PRESENT + NX
        dq      stack_top - 4096 + PRESENT + WRITE + NX
        times   509 dq 0
