echo start >>/work/starts
mkfifo /work/pause
exec 9<>/work/pause
number=0
while :; do
    number=$((number + 1))
    echo $number >/work/next
    mv /work/next /work/count
    read -r -t 0.02 -u 9
done
