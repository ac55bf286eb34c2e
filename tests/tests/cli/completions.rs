//! `oic completions`.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn each_shell_has_a_script() {
    let sandbox = Sandbox::new();
    for (shell, mark) in [("bash", "complete -F _oic"), ("zsh", "#compdef oic"), ("fish", "complete -c oic")] {
        let output = sandbox.oic(&["completions", shell]).run();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(output.stdout.contains(mark), "{shell}");
        assert!(output.stdout.contains("completions"), "{shell}");
    }
}

#[test]
fn it_works_when_the_configuration_is_broken() {
    let sandbox = Sandbox::new();
    sandbox.write("oic.yml", "nonsense: 1\n");
    assert_eq!(sandbox.oic(&["completions", "bash"]).run().code, Some(0));
}

#[test]
fn an_unknown_shell() {
    assert_snapshot!(Sandbox::new().oic(&["completions", "tcsh"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'tcsh' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'zsh'

    For more information, try '--help'.
    ");
}
