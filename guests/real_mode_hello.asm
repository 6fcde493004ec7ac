; ---
; about = "real mode: a greeting by rep outsb, one insb that lands in memory, an MMIO write and read, hlt"
; [machine]
; mode = "real16"
; load_at = 0x0
; [machine.memory]
; size = "4K"
; [[machine.stub]]
; port = 0x1000
; len = 1
; answers = [0xaa]
; print = true
; [[machine.stub]]
; mmio = 0x2000
; len = 1
; answers = [0xbb]
; [expect]
; exits = [
;   "out 0x1000/1 <- \"Hello from Real Mode!\\n\"",
;   "in 0x1000/1 -> aa",
;   "mmio write 0x2000/1 <- aa",
;   "mmio read 0x2000/1 -> bb",
;   "hlt",
; ]
; output = "Hello from Real Mode!\n"
; memory = { "0x800" = "aa" }
; registers = { rax = 0xbb }
; stop = "halted"
; exit_code = 10
; ---
;
; The real-mode guest of mini-kvm-rs, told anew. The string instructions move bytes between a port
; and memory, and the CPU keeps count in cx; KVM has to carry them out itself, since the data comes
; from guest memory. Its emulator passes every byte of `rep outsb` to the host by an exit of its own
; (input is different: see rep_insb.asm).

        bits    16
        org     0

ANSWER  equ     0x800                   ; where the byte read from the port has to appear
NO_RAM  equ     0x2000                  ; the slot ends at 0x1000

        cld
        mov     dx, 0x1000
        mov     si, message
        mov     cx, message_len
        rep     outsb                   ; [ds:si] -> port dx, cx times

        mov     di, ANSWER
        insb                            ; port dx -> [es:di]

        mov     al, [ANSWER]            ; pass the answer on ...
        mov     [NO_RAM], al            ; ... so that the MMIO write shows it
        mov     al, [NO_RAM]
        hlt

message: db     "Hello from Real Mode!", 10
message_len equ $ - message
