; ---
; about = "a read at an address that is not canonical: #GP, no page fault"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "#GP at 0x100010 reading 0x8000000000000000: 0x8000000000000000 is not canonical",
;   "IDT entry 13 lies beyond the IDT's limit 0x0",
; ]
; ---
;
; The mistake: a pointer that carries a mark in its topmost bit is used with the mark.
;
; What the processor does: bits 63 to 47 of an address must be equal (4-level paging; SDM 1 3.3.7.1). One
; that is not canonical never reaches the page tables: #GP with error code 0, and CR2 stays as it was.
; That is why a #GP without an obvious cause is often a bad pointer. There is no IDT.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        mov     rsi, 1 << 63            ; "tagged"
        AT      0x100010
        mov     eax, [rsi]
