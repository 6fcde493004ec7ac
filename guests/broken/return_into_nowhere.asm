; ---
; about = "a return address overwritten by text: #GP at the `ret`"
; [machine]
; mode = "long64"
; [expect]
; exits = ["shutdown"]
; output = ""
; stop = "triple-fault"
; exit_code = 14
; explain = [
;   "0x4141414141414141",
;   "not canonical",
; ]
; ---
;
; The mistake: eight bytes of text are written to a buffer on the stack that has less. Above the buffer
; lies the return address, as ever.
;
; What the processor does: `ret` takes "AAAAAAAA" for an address. That is not canonical, and so #GP is
; raised by the `ret` itself (SDM 2B "RET"; QEMU's emulation raises it one step later, when the
; instruction there is to be fetched). With text that happens to be canonical it would have been a page
; fault at the address that the text is. There is no IDT.

%include "include/image.inc"

        bits    64
        IMAGE_AT 0x100000

        call    greet
        hlt                             ; never comes back

greet:  mov     rax, "AAAAAAAA"
        mov     [rsp], rax              ; `[rsp - 8]` would have been the buffer
        AT      0x100080
        ret
