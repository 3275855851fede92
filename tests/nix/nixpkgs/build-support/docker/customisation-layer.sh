# Links to the files of $paths, merged, and what $extraCommands adds.
mkdir root "$out"
for path in $paths; do cp --recursive --symbolic-link --no-preserve=mode "$path/." root/; done
(cd root && eval "$extraCommands")
tar --create --file "$out/layer.tar" --directory root --sort=name --numeric-owner --owner=0 --group=0 \
  --mtime=@1 --hard-dereference .
