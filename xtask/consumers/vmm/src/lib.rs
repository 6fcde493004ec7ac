//! For somebody who wants a whole machine with a device of their own in it: `strata-vmm` alone.

use std::sync::{Arc, Mutex};

use strata_vmm::devices::{AddressSpace, Bus, BusError, DeviceMut, Effect};
use strata_vmm::kvm::CallError;
use strata_vmm::vcpu::{Buses, Limits, NoTrace, Pause, Vcpu, run};
use strata_vmm::{BuildError, Config, Machine};

/// Where the guest finds the dice.
pub const DICE: u16 = 0x510;

/// Dice that fall as they were told to; any write ends the game.
#[derive(Debug)]
pub struct Dice(pub u8);

impl DeviceMut for Dice {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(self.0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        Effect::PowerOff
    }
}

/// A machine with dice that runs `image` in real mode.
pub fn machine(image: &[u8]) -> Result<Machine, BuildError> {
    let config = Config::from_toml("mode = \"real16\"").expect("the configuration is a constant");
    Machine::builder(config).image(image).pio_device(DICE, 1, "dice", Arc::new(Mutex::new(Dice(4)))).build()
}

/// The exit handling of a VMM that makes its own vCPUs: they come and go, the loop and the buses are Strata's.
pub fn play(vcpu: &mut impl Vcpu, dice: u8) -> Result<Pause, GameError> {
    let mut buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    buses.pio.insert(DICE.into(), 1, "dice", Arc::new(Mutex::new(Dice(dice)))).map_err(GameError::Bus)?;
    run(vcpu, &buses, &mut Limits::default(), &mut NoTrace).map_err(GameError::Call)
}

#[derive(Debug)]
pub enum GameError {
    Bus(BusError),
    Call(CallError),
}

#[cfg(test)]
mod tests {
    use strata_vmm::Stop;
    use strata_vmm::kvm::{kvm_bindings, kvm_ioctls};
    use strata_vmm::testing::{Act, ScriptedVcpu, conformance};
    use strata_vmm::vcpu::Exit;
    use strata_vmm::vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn the_dice_answer_and_end_the_game() {
        let mut vcpu = ScriptedVcpu::new([Act::pio_read(DICE, 1, 1), Act::pio_write(DICE, 1, [0])]);
        assert_eq!(play(&mut vcpu, 6).unwrap(), Pause::Stop(Stop::PowerOff));
        let played: Vec<_> = vcpu.played().iter().map(ToString::to_string).collect();
        assert_eq!(played, ["in 0x510/1 -> 06", "out 0x510/1 <- 00"]);
    }

    #[test]
    fn a_failing_call_comes_out_with_its_name() {
        const EFAULT: i32 = 14;
        let mut vcpu = ScriptedVcpu::new([Act::pio_read(DICE, 1, 1), Act::Fail(EFAULT)]);
        match play(&mut vcpu, 6) {
            Err(GameError::Call(error)) => {
                assert_eq!((error.call, error.source.raw_os_error()), ("KVM_RUN", Some(EFAULT)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kick_from_another_thread_is_seen() {
        let mut vcpu = ScriptedVcpu::new([Act::Spin]).repeat_last();
        let kicker = vcpu.kicker();
        let kicking = std::thread::spawn(move || kicker.kick());
        assert_eq!(play(&mut vcpu, 6).unwrap(), Pause::Kicked);
        kicking.join().unwrap();
    }

    #[test]
    fn the_suite_for_vcpus_is_there_to_be_used() {
        let script = || {
            let acts = conformance::exits().map(Act::Exit);
            ScriptedVcpu::new(acts.clone().into_iter().chain(acts))
        };
        // A vCPU that keeps quiet about a kick is what the suite is there to find.
        struct Deaf(ScriptedVcpu);
        impl Vcpu for Deaf {
            fn run(&mut self) -> Result<Exit<'_>, CallError> {
                self.0.run()
            }
            fn state(&mut self) -> Result<strata_vmm::cpu::X86State, CallError> {
                self.0.state()
            }
            fn set_state(&mut self, state: &strata_vmm::cpu::X86State) -> Result<(), CallError> {
                self.0.set_state(state)
            }
            fn kicker(&self) -> strata_vmm::kvm::VcpuKicker {
                ScriptedVcpu::new([]).kicker()
            }
        }
        let complaint = conformance::check(|| Deaf(script())).unwrap_err();
        assert!(complaint.contains("kick"), "{complaint}");
    }

    #[test]
    fn a_real_machine_runs_with_the_dice_in_it() {
        let roll = [
            0xba, 0x10, 0x05, // mov dx, DICE
            0xec, // in al, dx
            0xa2, 0x00, 0x20, // mov [0x2000], al
            0xee, // out dx, al
        ];
        let machine = match machine(&roll) {
            Err(error) if error.is_the_hosts() => {
                eprintln!("not run: a machine with a device of one's own: no usable /dev/kvm");
                return;
            }
            machine => machine.unwrap(),
        };
        let outcome = machine.run().unwrap();
        assert_eq!(outcome.stop, Stop::PowerOff);
        assert_eq!(outcome.ram().memory().read_obj::<u8>(GuestAddress(0x2000)).unwrap(), 4);
    }

    /// What KVM's crates know, our users reach through ours, in the version that ours were built with.
    #[test]
    fn kvms_crates_are_reexported() {
        assert_eq!(kvm_ioctls::Cap::UserMemory as u32, kvm_bindings::KVM_CAP_USER_MEMORY);
        assert_eq!(kvm_bindings::KVM_API_VERSION, strata_vmm::kvm::API_VERSION as u32);
    }
}
