; ---
; about = "a page table entry with reserved bits set: a 2 MiB page that is not at a multiple of 2 MiB"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#PF at 0x100020 writing 0x200000: the PDE at 0xb008 has reserved bits 0x102000 set",
; ]
; ---
;
; The mistake: a 2 MiB page is to begin at 0x302000. A large page begins at a multiple of its size; the
; bits of the entry below that are reserved.
;
; What the processor does: an entry that is present and has a reserved bit set is #PF whatever the
; access is, with bit 3 (RSVD) of the error code set (SDM 3A 5.5.4 table 5-18, 5.7). It is seen when the
; page is used, not when the entry is written.

%include "include/image.inc"

PDE_1   equ     0xb008                  ; of the tables at entry: maps 2 MiB from 0x200000
PAGE    equ     0x200000
FRAME   equ     0x302000
PRESENT equ     1 << 0
WRITABLE equ    1 << 1
LARGE   equ     1 << 7

        bits    64
        IMAGE_AT 0x100000

        mov     qword [PDE_1], FRAME | LARGE | WRITABLE | PRESENT
        invlpg  [PAGE]                  ; the old entry may be in the TLB
        AT      0x100020
        mov     dword [PAGE], 1
