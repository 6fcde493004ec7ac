//! A triple fault: an exception, and why none of the handlers was reached.

use std::mem::discriminant;

use strata_cpu::delivery::{DeliveryError, MemoryFault, PushError, SelectorError};
use strata_cpu::{AccessKind, Attempt, Cr0, Exception, RFlags, WalkFault, X86State, deliver, deliver_all};
use vm_memory::{Bytes, GuestAddress};

use super::{Death, Explanation, Kind, hints, origin, place, registers, stack};
use crate::View;
use crate::fault::{self, Fault, Next, Touch, Why};

/// What a host does badly is not the guest's fault.
const EMULATED: &str = "this host has no hardware virtualisation, and does not do everything that a processor can: elsewhere the guest \
                        may run";

/// A handler that is reached and faults in turn is followed this often.
const ROUNDS: usize = 4;

pub(super) fn explain<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Explanation {
    let headline = format!("the guest died of a triple fault{}", death.on_vcpu());
    let state = death.view.state();
    if is_reset(state) {
        let mut explanation = Explanation::new(Kind::StateGone, headline);
        explanation.say(
            "the host has put the processor back to its state after reset: what the guest did last can be seen in a replay \
             only",
        );
        return explanation;
    }
    if let Some(explanation) = internal_no_code(death, &headline) {
        return explanation;
    }
    let mut explanation = Explanation::new(Kind::TripleFault, headline);
    explanation.rip = Some(format!("{:#x}", death.view.rip()));
    explanation.registers = registers::lines(death.view.state());
    let stepped = fault::after_cr3_load(&death.view);
    match (fault::next(&death.view), &stepped) {
        (Next::Raises(fault), _) => chain(death, &death.view, &fault, &mut explanation),
        (Next::Perhaps(fault), _) => {
            let text = format!("perhaps {} at {}: {}", fault.exception.name(), here(death), fault.why);
            explanation.exception = Some(fault.exception.name().to_string());
            explanation.tell(text, death.shown(death.view.rip()));
            deliveries(death, &death.view, fault.exception, &mut explanation);
        }
        (Next::Runs, Some(later)) if !matches!(later_next(death, later), Next::Runs) => {
            explanation.tell(format!("CR3 is loaded at {}", here(death)), death.shown(death.view.rip()));
            let view = View::new(death.view.memory(), later);
            if let Next::Raises(fault) = fault::next(&view) {
                chain(death, &view, &fault, &mut explanation);
            }
        }
        (Next::Unknown(why), _) => {
            explanation.accusation = false;
            let text = format!("what happened at {} cannot be told: {why}", here(death));
            explanation.tell(text, death.shown(death.view.rip()));
        }
        _ => {
            explanation.accusation = false;
            let text = format!(
                "nothing is wrong with the instruction at {}, as far as its registers and memory tell",
                here(death)
            );
            explanation.tell(text, death.shown(death.view.rip()));
            interrupts(death, &mut explanation);
            if death.machine.emulated {
                explanation.say(EMULATED);
            }
        }
    }
    explanation
}

/// Where no instruction is to blame, an interrupt may be: what would become of one.
fn interrupts<M: Bytes<GuestAddress>>(death: &Death<'_, M>, explanation: &mut Explanation) {
    /// The first vector that is not an exception's. SDM 3A 7.2.
    const FIRST: u8 = 32;
    let state = death.view.state();
    if !state.regs.rflags.contains(RFlags::IF) {
        return;
    }
    if let Err(fault) = deliver(|at| death.view.word(at), state, Exception::plain(FIRST)) {
        explanation.say(format!(
            "interrupts are on (IF=1), and one of vector {FIRST} would not reach a handler: {}",
            fault.why
        ));
        explanation.hint("the gates of interrupts, and which vectors the interrupt controllers send");
    }
}

fn internal_no_code<M: Bytes<GuestAddress>>(death: &Death<'_, M>, headline: &str) -> Option<Explanation> {
    match fault::next(&death.view) {
        Next::NoCode { .. } => super::internal::no_code(death, Kind::TripleFault, headline),
        _ => None,
    }
}

fn later_next<M: Bytes<GuestAddress>>(death: &Death<'_, M>, later: &X86State) -> Next {
    fault::next(&View::new(death.view.memory(), later))
}

fn here<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> String {
    death.name(death.view.rip())
}

/// What SVM hosts leave of a processor that shut down: the state after INIT, as far as no guest would have it by itself.
/// SDM 3A "Processor State After Reset", table 11-1: INIT leaves the two bits of CR0 for caches as they are.
fn is_reset(state: &X86State) -> bool {
    let cr0 = state.cr0.difference(Cr0::CD | Cr0::NW);
    state.cs.base == 0xffff_0000 && state.regs.rip == 0xfff0 && cr0 == Cr0::ET
}

/// The fault of an instruction, and what became of it.
fn chain<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    view: &View<'_, M>,
    fault: &Fault,
    explanation: &mut Explanation,
) {
    explanation.exception = Some(fault.exception.name().to_string());
    let fetch = fault.access.is_some_and(|access| access.kind == AccessKind::Fetch);
    tell_fault(death, view, fault, explanation);
    if fetch {
        hints::of_fault(view, fault, explanation);
        origin::tell(death, explanation);
    } else if !origin::content(death, explanation) {
        // What zeroes or text do as instructions is nobody's mistake but theirs who went there.
        hints::of_fault(view, fault, explanation);
    }
    let mut round = Some((*view.state(), fault.exception));
    for _ in 0..ROUNDS {
        let Some((state, exception)) = round.take() else { break };
        let view = View::new(view.memory(), &state);
        let Some(reached) = deliveries(death, &view, exception, explanation) else { break };
        let view = View::new(view.memory(), &reached);
        match fault::next(&view) {
            Next::Raises(fault) => {
                tell_fault(death, &view, &fault, explanation);
                hints::of_fault(&view, &fault, explanation);
                round = Some((sink(death, &reached, fault.exception), fault.exception));
            }
            Next::NoCode { phys, .. } => {
                explanation.say(format!("there is no handler: there is no RAM at {phys:#x}"));
            }
            _ => {
                // Then it was not this that killed the guest, or something is not understood.
                explanation.accusation = false;
                explanation.say("what the handler did then cannot be seen from here");
            }
        }
    }
}

/// A handler that faults at its first instruction is reached again, a frame deeper in the stack, until that is used up: the
/// state in which its exception is delivered no more, or for the first time if it is another's turn before.
fn sink<M: Bytes<GuestAddress>>(death: &Death<'_, M>, handler: &X86State, exception: Exception) -> X86State {
    /// More frames than a stack of 1 MiB has room for.
    const FRAMES: usize = 1 << 15;
    let mut state = *handler;
    for _ in 0..FRAMES {
        let view = View::new(death.view.memory(), &state);
        let Ok(delivered) = deliver(|at| view.word(at), &state, exception) else { return state };
        let next = View::new(death.view.memory(), &delivered.state);
        let again = next.rip() == view.rip()
            && matches!(fault::next(&next), Next::Raises(fault) if fault.exception.vector == exception.vector);
        if !again {
            return *handler;
        }
        state = *delivered.state;
    }
    *handler
}

fn tell_fault<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    view: &View<'_, M>,
    fault: &Fault,
    explanation: &mut Explanation,
) {
    let at = death.name(view.rip());
    let doing = match fault.access {
        Some(Touch { kind: AccessKind::Fetch, address }) if address == view.rip() => {
            format!("executing at {at}")
        }
        Some(access) => format!("at {at} {access}"),
        None => format!("at {at}"),
    };
    let text = format!("{} {doing}: {}", fault.exception.name(), fault.why);
    let fetch = fault.access.is_some_and(|access| access.kind == AccessKind::Fetch);
    let mut details = Vec::new();
    if !fetch {
        details.extend(place::instruction(view, death.symbols, view.rip()));
    }
    if let Why::Walk(walk) = &fault.why {
        details.extend(place::walk(walk));
    }
    explanation.tell(text, details);
}

/// Delivers an exception and those that follow; the state of the handler, if one is reached.
fn deliveries<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    view: &View<'_, M>,
    exception: Exception,
    explanation: &mut Explanation,
) -> Option<X86State> {
    let chain = deliver_all(|at| view.word(at), view.state(), exception);
    let is_triple = chain.is_triple_fault();
    let mut before: Option<&DeliveryError> = None;
    let mut pushed = false;
    for (number, Attempt { exception, outcome }) in chain.attempts.iter().enumerate() {
        let name = exception.name();
        match outcome {
            Ok(delivered) => {
                explanation.say(format!("{name} went to its handler at {}", death.name(delivered.handler)));
            }
            Err(fault) => {
                let same = before.is_some_and(|before| discriminant(before) == discriminant(&fault.why));
                let end = match (&fault.raised, chain.attempts.get(number + 1)) {
                    (_, None) if is_triple => ": triple fault".to_owned(),
                    (Some(raised), Some(next)) => {
                        let double = if next.exception == *raised { "" } else { ": a double fault" };
                        format!(", which raises {}{double}", raised.name())
                    }
                    _ => String::new(),
                };
                let how = match before {
                    Some(before) if same_reason(before, &fault.why) => " for the same reason".to_owned(),
                    _ if same => format!(" the same way: {}", fault.why),
                    _ => format!(": {}", fault.why),
                };
                let mut walk = walk_of(&fault.why).map(place::walk).unwrap_or_default();
                if explanation.sentences.iter().any(|sentence| sentence.details.ends_with(&walk)) {
                    walk.clear();
                }
                explanation.tell(format!("delivering {name} failed{how}{end}"), walk);
                if before.is_none() {
                    hints::of_delivery(view.state(), &fault.why, explanation);
                }
                pushed |= matches!(fault.why, DeliveryError::Push { .. });
                before = Some(&fault.why);
            }
        }
    }
    if pushed {
        tell_stack(death, view, exception, explanation);
    }
    chain.delivered().map(|delivered| *delivered.state)
}

/// Two frames that found no place on the same stack: all that differs is which exception they were of.
fn same_reason(before: &DeliveryError, after: &DeliveryError) -> bool {
    let (
        DeliveryError::Push { stack, why, source_of, .. },
        DeliveryError::Push { stack: stack_after, why: why_after, source_of: source_after, .. },
    ) = (before, after)
    else {
        return false;
    };
    stack == stack_after && source_of == source_after && why.to_string() == why_after.to_string()
}

/// The walk that a delivery failed at.
fn walk_of(error: &DeliveryError) -> Option<&WalkFault> {
    let (DeliveryError::IdtUnreadable { cause, .. }
    | DeliveryError::TssUnreadable { cause, .. }
    | DeliveryError::Push { why: PushError::Memory(cause), .. }
    | DeliveryError::Code {
        why: SelectorError::Unreadable { cause, .. } | SelectorError::Unmarkable { cause, .. },
        ..
    }) = error
    else {
        return None;
    };
    match cause {
        MemoryFault::Walk(walk) => Some(walk),
        MemoryFault::NoRam { .. } => None,
    }
}

/// What the stack that is used up is full of.
fn tell_stack<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    view: &View<'_, M>,
    exception: Exception,
    explanation: &mut Explanation,
) {
    let Some(stack::Repeat { address, times, distance }) = stack::repeat(view) else { return };
    let at = death.name(address);
    if address == view.rip() {
        let name = exception.name();
        explanation.say(format!(
            "the stack holds {times} frames of {at}, one every {distance} bytes: the handler of {name} raises {name} itself, again and again"
        ));
        explanation.hint(format!("the handler of {name}: its own instruction at {at} faults"));
    } else {
        explanation.tell(
            format!("the stack holds {times} times the return address {at}, one every {distance} bytes: a recursion that does not end"),
            Vec::new(),
        );
        explanation.hint(format!("the call before {at}"));
    }
}
