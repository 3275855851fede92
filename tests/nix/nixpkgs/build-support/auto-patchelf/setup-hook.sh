autoPatchelfCheck() {
  @interpreter@ -I @program@ "$out" "$libraryPath" ${autoPatchelfIgnoreMissingDeps:-}
}
postFixupHooks+=(autoPatchelfCheck)
