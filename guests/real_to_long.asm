; ---
; about = "the whole climb: from real mode to 32-bit protected mode to 64-bit long mode, a line from each"
; [machine]
; mode = "real16"
; [machine.memory]
; size = "4M"
; [expect]
; exits = [
;   "out 0x3f8/1 <- \"16 bits\\n\"",
;   "out 0x3f8/1 <- \"32 bits\\n\"",
;   "out 0x3f8/1 <- \"64 bits\\n\"",
;   "hlt",
; ]
; output = "16 bits\n32 bits\n64 bits\n"
; memory = { "0x200000" = "88 77 66 55 44 33 22 11" }
; stop = "halted"
; exit_code = 10
; ---
;
; What every boot loader of a PC does, in the order of SDM 3A 11.9.1 and 11.8.5:
;
;       real mode  --  GDT, CR0.PE, far jump  -->  protected mode
;                  --  page tables, CR4.PAE, CR3, EFER.LME, CR0.PG, far jump  -->  long mode
;
; Each far jump loads CS with a descriptor that says how wide the code is.

%include "include/image.inc"
%include "include/serial.inc"

CODE32  equ     0x08
CODE64  equ     0x10
DATA    equ     0x18

CR0_PE  equ     1 << 0
CR0_PG  equ     1 << 31
CR4_PAE equ     1 << 5
IA32_EFER equ   0xc0000080
EFER_LME equ    1 << 8

PRESENT equ     1 << 0
WRITABLE equ    1 << 1
LARGE   equ     1 << 7
PML4    equ     0x10000
PDPT    equ     0x11000
PD      equ     0x12000

        bits    16
        IMAGE_AT 0x7c00

        cli
        xor     ax, ax
        mov     ds, ax
        PRINT   "16 bits", 10
        lgdt    [gdt_pointer]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     CODE32:protected        ; until here the CPU ran 16-bit code in protected mode

        bits    32
protected:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        PRINT   "32 bits", 10

        mov     edi, PML4               ; three tables, empty
        xor     eax, eax
        mov     ecx, 3 * 1024
        cld
        rep     stosd
        mov     dword [PML4], PDPT | WRITABLE | PRESENT
        mov     dword [PDPT], PD | WRITABLE | PRESENT
        mov     dword [PD], 0x000000 | LARGE | WRITABLE | PRESENT       ; the first 2 MiB, one to one
        mov     dword [PD + 8], 0x200000 | LARGE | WRITABLE | PRESENT   ; and the next

        mov     eax, cr4
        or      eax, CR4_PAE
        mov     cr4, eax
        mov     eax, PML4
        mov     cr3, eax
        mov     ecx, IA32_EFER
        rdmsr
        or      eax, EFER_LME
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG             ; with LME set, paging makes long mode active
        mov     cr0, eax
        jmp     CODE64:long_mode            ; until here the CPU ran 32-bit code in long mode

        bits    64
long_mode:
        PRINT   "64 bits", 10
        mov     rax, 0x1122334455667788
        mov     [0x200000], rax
        hlt

        align   8
gdt:    dq      0
        dq      0x00cf9b000000ffff      ; 32-bit code: base 0, 4 GiB
        dq      0x00af9b000000ffff      ; 64-bit code: the L bit
        dq      0x00cf93000000ffff      ; data: base 0, 4 GiB
gdt_end:
gdt_pointer:
        dw      gdt_end - gdt - 1
        dd      gdt
