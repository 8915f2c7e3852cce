echo start >>/data/starts
mkfifo /data/pause
exec 9<>/data/pause
number=0
while :; do
    number=$((number + 1))
    echo $number >/data/next
    mv /data/next /data/count
    read -r -t 0.02 -u 9
done
