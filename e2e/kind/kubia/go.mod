module kubia

go 1.19
