installShellCompletion() { # --cmd NAME (--bash|--zsh|--fish PATH)...
  local command target
  [[ $1 == --cmd ]] || { echo "installShellCompletion: expected --cmd NAME first" >&2; return 1; }
  command=$2
  shift 2
  while [[ $# -gt 0 ]]; do
    case $1 in
      --bash) target=bash-completion/completions/$command.bash ;;
      --zsh) target=zsh/site-functions/_$command ;;
      --fish) target=fish/vendor_completions.d/$command.fish ;;
      *) echo "installShellCompletion: unknown flag $1" >&2; return 1 ;;
    esac
    mkdir -p "$(dirname "$out/share/$target")"
    cat "$2" >"$out/share/$target"
    [[ -s $out/share/$target ]] || { echo "installShellCompletion: $target is empty" >&2; return 1; }
    shift 2
  done
}
